/** The system's timers hold no process alive; a program that waits on them says so here. Answers how to let go. */
export function keepAwake(): () => void {
  const interval = setInterval(() => {}, 2 ** 30)
  return () => clearInterval(interval)
}
