/** The system's clock and timers. Timers do not keep the process alive; listeners and connections do. */

import type { Clock, Timer } from './world.ts'

export class SystemClock implements Clock {
  now(): number {
    return Date.now()
  }

  monotonic(): number {
    return performance.now()
  }

  after(delayMs: number, task: () => void): Timer {
    const timeout = setTimeout(task, Math.max(0, Math.min(delayMs, 2 ** 31 - 1)))
    timeout.unref()
    return { cancel: () => clearTimeout(timeout) }
  }

  soon(task: () => void): void {
    setImmediate(task)
  }
}
