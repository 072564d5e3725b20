// The order of the site: which file of the project is which page, and under which heading it is listed.

/**
 * @typedef {object} Entry
 * @property {string} file The Markdown file, as a path from the project's folder.
 * @property {string} text What the sidebar calls it.
 *
 * @typedef {object} Section
 * @property {string} text
 * @property {boolean} [collapsed]
 * @property {Entry[]} pages
 */

/**
 * @param {string} text
 * @param {Record<string, string>} pages What the sidebar calls each page: a name in docs/, or with a slash a file of the project.
 * @param {{ collapsed?: boolean }} [options]
 * @returns {Section}
 */
const section = (text, pages, options) => ({
  text,
  ...options,
  pages: Object.entries(pages).map(([name, text]) => ({
    file: name.startsWith('/') ? name.slice(1) : `docs/${name}.md`,
    text,
  })),
})

/** A page that does not exist is left out, so that a branch may list what another one writes. */
export const SECTIONS = [
  section('Start', {
    start: 'Start',
    guide: 'Guide',
    'guide/sending': 'Sending',
    'guide/delivery': 'Order, gaps, buffers',
    'guide/payloads': 'Filters, types, schemas',
    'guide/statements': 'Statements',
  }),
  section('Recipes', {
    'guide/recipes': 'Recipes',
    'catching-up': 'Catching up',
  }),
  section('Examples', {
    '/examples/README.md': 'All examples',
    '/examples/server-sent-events/README.md': 'Server-sent events',
    '/examples/jobs/README.md': 'Jobs',
    '/examples/cache/README.md': 'A cache',
    '/examples/graceful-shutdown/README.md': 'A graceful shutdown',
    '/examples/container/README.md': 'Docker and Kubernetes',
    '/examples/with/express/README.md': 'Express',
    '/examples/with/fastify/README.md': 'Fastify',
    '/examples/with/nestjs/README.md': 'NestJS',
    '/examples/with/next/README.md': 'Next.js',
    '/examples/with/socket.io/README.md': 'Socket.IO',
    '/examples/with/graphql/README.md': 'graphql-subscriptions',
    '/examples/with/prisma/README.md': 'Prisma',
    '/examples/with/drizzle/README.md': 'Drizzle',
    '/examples/with/kysely/README.md': 'Kysely',
    '/examples/with/pg-boss/README.md': 'pg-boss',
    '/examples/with/graphile-worker/README.md': 'graphile-worker',
    '/examples/with/procrastinate/README.md': 'procrastinate',
  }),
  section('In your project', {
    'bundlers-and-frameworks': 'Bundlers and frameworks',
    testing: 'Testing',
  }),
  section('In production', {
    operations: 'Operations',
    'poolers-and-managed': 'Poolers and managed servers',
    'command-line': 'The command line',
    console: 'Console',
    opentelemetry: 'OpenTelemetry',
    sessions: 'Sessions',
    'scaling-out': 'Scaling out',
    relay: 'Relay',
  }),
  section('Every event', {
    durable: 'Durable subscriptions',
    reliability: 'Reliability',
    laboratory: 'Laboratory',
    'durable/laboratory': 'Laboratory: durable subscriptions',
  }),
  section('Reference', {
    configuration: 'Configuration',
    encryption: 'Encryption',
    types: 'Types',
    troubleshooting: 'Troubleshooting',
    'about/platforms': 'Platforms',
    'about/faq': 'FAQ',
    'about/glossary': 'Glossary',
  }),
  section('Coming from elsewhere', {
    'about/comparison': 'Comparison',
    'migrating/from-0.1': 'pglisten 0.1',
    'migrating/psqlpy': 'psqlpy',
    'migrating/pg-listen': 'pg-listen',
    'migrating/postgres': 'postgres',
    'migrating/pg': 'pg, TypeORM, Prisma',
    'migrating/graphql': 'GraphQL subscriptions',
    'migrating/queries': 'Queries',
    'migrating/other-languages': 'Other languages',
  }),
  section(
    'The project',
    {
      '/bench/README.md': 'Benchmarks',
      '/bench/results/results.md': 'Results of the benchmarks',
      '/bench/results/queries.md': 'Results for statements',
      '/bench/results/durable.md': 'Results for durable subscriptions',
      '/packages/opentelemetry/README.md': 'The package for OpenTelemetry',
      '/packages/console/README.md': 'The package for the console',
      '/packages/relay-nats/README.md': 'The package for NATS',
      '/CHANGELOG.md': 'Changelog',
      '/ARCHITECTURE.md': 'Architecture',
      '/CONTRIBUTING.md': 'Contributing',
      '/SECURITY.md': 'Security',
    },
    { collapsed: true },
  ),
]

/**
 * Where a file of the project is on the site, without the ending; `undefined` when it is no page.
 * @param {string} file
 */
export function pageOf(file) {
  if (file === 'README.md') return 'index'
  const listed = SECTIONS.some(({ pages }) => pages.some((page) => page.file === file))
  if (!listed) return undefined
  const name = file.replace(/\.md$/, '').replace(/\/README$/, '')
  if (name.startsWith('docs/')) return name.slice('docs/'.length)
  if (name.startsWith('examples/')) return name
  return `project/${name.toLowerCase().replaceAll('/', '-')}`
}
