#!/bin/sh
# A SIGTERM to `npm run`: what becomes of the program that it has started.
#
# npm hands the signal on to the shell that it has started, and to nothing else. dash, the /bin/sh of Debian, stays between npm and a
# command of a package's scripts, and ends without handing the signal on. npm ends too, and the program goes on without either:
#
#   npm:     ended by SIGTERM
#   program: runs, its parent is another one    (npm 11.19.1, dash 0.5.12)
#
# Guessed before: the program gets the signal, as it does when Ctrl-C sends SIGINT to all of them.
# Needs node, npm, dash. Seen 2026-11-29 with Node.js 20.20.2.
set -eu

folder=$(mktemp -d)
program=
clean_up() {
  [ -z "$program" ] || kill -KILL "$program" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"

npm install --silent --no-audit --no-fund --prefix npm npm@11.19.1 >&2
mkdir package
cd package
cat > program.mjs <<'JS'
import fs from 'node:fs'
process.on('SIGTERM', () => {
  fs.writeFileSync('told', '')
  process.exit(0)
})
setInterval(() => {}, 1000)
fs.writeFileSync('parent', String(process.ppid))
fs.writeFileSync('pid', String(process.pid))
JS
echo '{ "private": true, "scripts": { "go": "node program.mjs" } }' > package.json

node ../npm/node_modules/npm/bin/npm-cli.js run go --script-shell "$(command -v dash)" >&2 &
npm=$!
tries=0
until [ -s pid ]; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || exit 1
  sleep 0.1
done
program=$(cat pid)
kill -TERM "$npm"
wait "$npm" && code=0 || code=$?
sleep 2

[ "$code" = 143 ] && npm_end='ended by SIGTERM' || npm_end="exit code $code"
if [ -e told ]; then
  fate='was told'
elif [ "$(ps -o ppid= -p "$program" | tr -d ' ')" != "$(cat parent)" ]; then
  fate='runs, its parent is another one'
else
  fate='runs'
fi
echo "npm:     $npm_end"
echo "program: $fate"
[ "$npm_end" = 'ended by SIGTERM' ] && [ "$fate" = 'runs, its parent is another one' ]
