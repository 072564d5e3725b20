// A registry on this machine with the packages of `packages/` on it, so that they can be installed by name before they
// are published: package managers then choose among the platforms as they will for users.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { root } from '../lib/run.mjs'
import { mainManifest } from './staging.mjs'
import { TARGETS } from './targets.mjs'

/**
 * @param {string} packages Where the tarballs are. Of platforms without one, only the manifest is served.
 * @returns {Promise<{ url: string, close: () => Promise<void> }>}
 */
export async function startRegistry(packages) {
  const read = (/** @type {string} */ file) => JSON.parse(fs.readFileSync(file, 'utf8'))
  const manifests = [
    mainManifest(),
    ...Object.values(TARGETS).map(({ name }) => read(path.join(root, 'npm', name, 'package.json'))),
  ]
  const server = createServer((request, response) => {
    const wanted = decodeURIComponent(request.url ?? '').replace(/^\/+/, '')
    const tarball = path.join(packages, path.basename(wanted))
    const manifest = manifests.find(({ name }) => name === wanted)
    if (manifest !== undefined) {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(packument(manifest)))
    } else if (wanted.startsWith('-/') && fs.existsSync(tarball)) {
      fs.createReadStream(tarball).pipe(response)
    } else {
      response.writeHead(404).end()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const url = `http://127.0.0.1:${port}/`

  /** @param {{ name: string, version: string }} manifest */
  function packument(manifest) {
    const { name, version } = manifest
    const file = path.join(packages, `${name}-${version}.tgz`)
    const integrity = fs.existsSync(file)
      ? `sha512-${createHash('sha512').update(fs.readFileSync(file)).digest('base64')}`
      : undefined
    const dist = { tarball: `${url}-/${path.basename(file)}`, integrity }
    return {
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { ...manifest, dist } },
    }
  }

  return {
    url,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
