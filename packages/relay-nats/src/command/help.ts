// What `--help` prints.

export const HELP = `Usage: pglisten-relay-nats [run] [CHANNEL...] [options]
       pglisten-relay-nats check [CHANNEL...] [options]

Stores PostgreSQL's notifications in a stream of NATS JetStream: in order, once, with gaps as messages of the same stream.

  DATABASE_URL=postgres://… NATS_URL=nats://… npx pglisten-relay-nats orders jobs --stream PG

run      relays until a signal ends it. Of several that run for one stream one leads, and the others stand by
check    looks at PostgreSQL, the stream and the rights of both accounts, and stores nothing

Options, their variables, and their names in the file:
  --config FILE        a file with options as JSON (PGLISTEN_RELAY_CONFIG)
  --stream NAME        the stream (PGLISTEN_RELAY_STREAM, stream)
  CHANNEL...           the channels (PGLISTEN_RELAY_CHANNELS, with commas between them; channels)
  --dsn DSN            PostgreSQL (DATABASE_URL, else PGHOST, PGUSER, …; postgres)
  --nats URL           NATS; may be given more than once (NATS_URL, with commas; nats.servers)
  --nats-creds FILE    the credentials of NATS (NATS_CREDS; nats.credsFile). Also NATS_USER, NATS_PASSWORD, NATS_TOKEN
  --database NAME      the name of the database in subjects (PGLISTEN_RELAY_DATABASE, database)
  --prefix TOKENS      the first tokens of subjects (PGLISTEN_RELAY_PREFIX, prefix)
  --durable NAME       relay a durable subscription of that name (PGLISTEN_RELAY_DURABLE, durable.name)
  --batch-from NUMBER  use atomic batches from so many waiting messages on (PGLISTEN_RELAY_BATCH_FROM, batchFrom)
  --health [HOST:]PORT serve /healthz and /readyz (PGLISTEN_RELAY_HEALTH, health)
  --json               say everything as lines of JSON
  --quiet              say nothing but errors
  --help               show this text
  --version            show the version

An option goes before its variable, and that before the file. The file may hold every option of the library besides.

Exit codes: 0 ended by a signal, or nothing is wrong; 1 failed, or check has found a problem; 2 wrong arguments.
`
