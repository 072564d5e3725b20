// Next.js calls `register()` once for each process that it starts.

export async function register() {
  if (process.env.NEXT_RUNTIME !== 'nodejs') return
  const { listening } = await import('./lib/listener.js')
  void listening()
}
