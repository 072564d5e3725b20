// Ends a disposable server and removes its folder when the process that owns it is gone, for whatever reason.

import { spawn } from 'node:child_process'
import { Socket } from 'node:net'

// Runs beside us in a session of its own and blocks until our end of the pipe closes, however we
// end: even SIGKILL. It is therefore also the only one that removes the folder.
const WATCHDOG = `
cat > /dev/null
lock="$1/data/postmaster.pid"
shm=$(sed -n 's/^ *[0-9][0-9]*  *\\([0-9][0-9]*\\) *$/\\1/p' "$lock" 2> /dev/null)
pid=$(cat "$1/pid" 2> /dev/null)
if [ -n "$pid" ] && kill -QUIT "-$pid" 2> /dev/null; then
  tries=100
  while [ "$tries" -gt 0 ] && [ -e "$lock" ] && kill -0 "-$pid" 2> /dev/null; do
    sleep 0.05
    tries=$((tries - 1))
  done
  kill -KILL "-$pid" 2> /dev/null
fi
[ -n "$shm" ] && ipcrm -m "$shm" 2> /dev/null
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
`

/** @param {string} folder */
export function startWatchdog(folder) {
  const child = spawn('/bin/sh', ['-c', WATCHDOG, 'pglisten-watchdog', folder], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  child.unref()
  child.stdin.on('error', () => {})
  // Neither the process nor its pipe keeps the owner alive.
  if (child.stdin instanceof Socket) child.stdin.unref()
  return child
}
