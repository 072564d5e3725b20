// The site: what `npm run site` has laid out in target/site/pages, in the order of ../structure.mjs.

import fs from 'node:fs'
import { defineConfig } from 'vitepress'
import { SECTIONS, pageOf } from '../structure.mjs'
import { slug } from '../slug.mjs'

const root = new URL('../../', import.meta.url)
const pages = new URL('target/site/pages/', root)
const { version, description } = JSON.parse(fs.readFileSync(new URL('package.json', root), 'utf8'))
const repository = process.env.SITE_REPOSITORY || undefined
const base = process.env.SITE_BASE || '/'
/** Older versions, which are built below this one. */
const older = (process.env.SITE_VERSIONS ?? '').split(' ').filter((name) => name !== '')
/** Where an older version leads back to. */
const newest = process.env.SITE_OLD && process.env.SITE_ADDRESS

/** @param {(typeof SECTIONS)[number]} section */
const group = ({ text, collapsed, pages: entries }) => ({
  text,
  // A group that cannot be folded has none of this: it would be a button.
  ...(collapsed && { collapsed }),
  items: entries
    .filter(({ file }) => fs.existsSync(new URL(file, root)))
    .map(({ file, text }) => ({ text, link: `/${pageOf(file)}` })),
})
const sidebar = SECTIONS.map(group)
const api = new URL('api/typedoc-sidebar.json', pages)
/** Only beside the pages of the reference: it has more entries than all other pages together. */
const reference = {
  text: 'API',
  link: '/api/',
  items: fs.existsSync(api) ? JSON.parse(fs.readFileSync(api, 'utf8')) : [],
}

/** The empty corner of a table is no header of its column. @param {{ tokens: any[] }} state */
function corners({ tokens }) {
  for (const [index, token] of tokens.entries()) {
    if (token.type !== 'th_open' || tokens[index + 1].content !== '') continue
    token.tag = 'td'
    tokens[index + 2].tag = 'td'
  }
}

export default defineConfig({
  title: 'pglisten',
  description,
  lang: 'en',
  base,
  srcDir: '../target/site/pages',
  outDir: '../target/site/html',
  cacheDir: '../target/site/cache',
  markdown: {
    anchor: { slugify: slug },
    config: (md) => md.core.ruler.push('corners', corners),
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
  },
  vite: {
    // A picture in the page as a file of its own, so that it is not repeated in each bundle.
    build: { assetsInlineLimit: 0, chunkSizeWarningLimit: 4000 },
    server: { fs: { allow: ['../..'] } },
  },
  themeConfig: {
    nav: [
      { text: 'Start', link: '/start' },
      { text: 'Guide', link: '/guide' },
      { text: 'API', link: '/api/' },
      {
        text: version,
        items: [
          { text: 'Changelog', link: '/project/changelog' },
          { text: 'Coming from 0.1', link: '/migrating/from-0.1' },
          // They are sites of their own: with a target the browser goes there, and not the router of this one.
          ...older.map((name) => ({ text: name, link: `/${name}/`, target: '_self' })),
          ...(newest ? [{ text: 'The newest version', link: newest }] : []),
        ],
      },
    ],
    sidebar: { '/api/': [reference], '/': [...sidebar, { text: 'API', link: '/api/' }] },
    outline: [2, 3],
    ...(repository && {
      socialLinks: [{ icon: 'github', link: repository }],
      editLink: { pattern: ({ frontmatter }) => frontmatter.edit, text: 'Edit this page' },
    }),
    search: {
      provider: 'local',
      options: {
        // What is written on the button is its name: "Search", and the key.
        translations: { button: { buttonText: 'Search', buttonAriaLabel: 'Search K' } },
        miniSearch: {
          options: {
            // An error code is found whole and by its parts.
            tokenize: (text) =>
              text
                .split(/[\n\r\p{Z}\p{S}]+|(?!_)\p{P}+/u)
                .flatMap((word) => (word.includes('_') ? [word].concat(word.split('_')) : word))
                .filter((word) => word !== ''),
          },
          searchOptions: {
            fuzzy: (term) => (term.length > 4 && !term.includes('_') ? 0.2 : false),
            prefix: true,
            combineWith: 'AND',
            boost: { title: 4, text: 2, titles: 1 },
            // Pages that explain stand before the reference, and both before what is about the project itself.
            boostDocument: (id) =>
              id.includes('/api/') ? 0.6 : id.includes('/project/') ? 0.3 : 1,
          },
        },
      },
    },
  },
})
