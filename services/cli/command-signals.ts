/**
 * The signals `qmq up` lives by: SIGTERM and SIGINT stop it, SIGHUP has conf-qmq read again, as qmail's daemons do. A second
 * signal to stop changes nothing: stopping has its own limits.
 */

import process from 'node:process'

export class CommandSignals {
  readonly stopped: Promise<void>
  #stopAsked = false
  #rereadAsked = false
  #wake = () => {}

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.stopped = promise
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        this.#stopAsked = true
        resolve()
        this.#wake()
      })
    }
    process.on('SIGHUP', () => {
      this.#rereadAsked = true
      this.#wake()
    })
  }

  get stopAsked(): boolean {
    return this.#stopAsked
  }

  /** The next thing that was asked for, once; several SIGHUP in a row are one. */
  async next(): Promise<'stop' | 'reread'> {
    while (!this.#stopAsked && !this.#rereadAsked) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#stopAsked) return 'stop'
    this.#rereadAsked = false
    return 'reread'
  }
}
