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
 * @param {Record<string, string>} pages What the sidebar calls each file.
 * @param {{ collapsed?: boolean }} [options]
 * @returns {Section}
 */
const section = (text, pages, options) => ({
  text,
  ...options,
  pages: Object.entries(pages).map(([file, text]) => ({ file, text })),
})

/** A page that does not exist is left out, so that a branch may list what another one writes. */
export const SECTIONS = [
  section('Start', {
    'docs/start.md': 'Start',
    'docs/guide.md': 'Guide',
    'docs/guide/sending.md': 'Sending',
    'docs/guide/delivery.md': 'Order, gaps, buffers',
    'docs/guide/payloads.md': 'Filters, types, schemas',
    'docs/guide/statements.md': 'Statements',
  }),
  section('Recipes', {
    'docs/guide/recipes.md': 'Recipes',
    'docs/catching-up.md': 'Catching up',
    'examples/cache/README.md': 'A cache',
    'examples/jobs/README.md': 'Jobs',
    'examples/server-sent-events/README.md': 'Server-sent events',
    'examples/graceful-shutdown/README.md': 'A graceful shutdown',
  }),
  section('In your project', {
    'docs/bundlers-and-frameworks.md': 'Bundlers and frameworks',
    'docs/testing.md': 'Testing',
  }),
  section('In production', {
    'docs/operations.md': 'Operations',
    'docs/poolers-and-managed.md': 'Poolers and managed servers',
    'docs/command-line.md': 'The command line',
    'docs/console.md': 'Console',
    'docs/opentelemetry.md': 'OpenTelemetry',
    'docs/sessions.md': 'Sessions',
    'docs/scaling-out.md': 'Scaling out',
    'docs/relay.md': 'Relay',
  }),
  section('Every event', {
    'docs/durable.md': 'Durable subscriptions',
    'docs/reliability.md': 'Reliability',
    'docs/laboratory.md': 'Laboratory',
  }),
  section('Reference', {
    'docs/configuration.md': 'Configuration',
    'docs/encryption.md': 'Encryption',
    'docs/types.md': 'Types',
    'docs/troubleshooting.md': 'Troubleshooting',
    'docs/about/platforms.md': 'Platforms',
    'docs/about/faq.md': 'FAQ',
    'docs/about/glossary.md': 'Glossary',
  }),
  section('Coming from elsewhere', {
    'docs/about/comparison.md': 'Comparison',
    'docs/migrating/from-0.1.md': 'pglisten 0.1',
    'docs/migrating/psqlpy.md': 'psqlpy',
    'docs/migrating/pg-listen.md': 'pg-listen',
    'docs/migrating/postgres.md': 'postgres',
    'docs/migrating/pg.md': 'pg, TypeORM, Prisma',
    'docs/migrating/graphql.md': 'GraphQL subscriptions',
    'docs/migrating/queries.md': 'Queries',
    'docs/migrating/other-languages.md': 'Other languages',
  }),
  section(
    'The project',
    {
      'bench/README.md': 'Benchmarks',
      'bench/results/results.md': 'Results of the benchmarks',
      'bench/results/queries.md': 'Results for statements',
      'bench/results/durable.md': 'Results for durable subscriptions',
      'packages/opentelemetry/README.md': 'The package for OpenTelemetry',
      'packages/console/README.md': 'The package for the console',
      'packages/relay-nats/README.md': 'The package for NATS',
      'CHANGELOG.md': 'Changelog',
      'ARCHITECTURE.md': 'Architecture',
      'CONTRIBUTING.md': 'Contributing',
      'SECURITY.md': 'Security',
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
