/**
 * A stream of what changes: now, and again whenever it is another, but no oftener than `pauseMs` and never faster than the caller
 * reads. What came and went in between is not told.
 */

import { errorText } from '../../protocol/failure.ts'
import type { RpcFailed, RpcSink, RpcStreamEnd } from '../../runtime/rpc-server.ts'
import type { Clock, Log, Timer } from '../../runtime/world.ts'
import type { ControlPlane } from '../control-plane.ts'
import { failed } from './api-call.ts'

export type Sight =
  /** `mark`: what makes it another. `last`: nothing will follow. */
  { readonly kind: 'sight'; readonly value: object; readonly mark: string; readonly last: boolean } | RpcFailed

const pauseMs = 500
/** What changes by the passing of time alone, such as a place that is lost, nobody tells. */
const lookAgainMs = 5000

export function watchPlane(
  parts: { readonly plane: ControlPlane; readonly clock: Clock; readonly log: Log },
  sink: RpcSink,
  look: () => Promise<Sight>,
): RpcStreamEnd {
  const watcher = new Watcher(parts, sink, look)
  watcher.start()
  return watcher
}

class Watcher implements RpcStreamEnd {
  readonly #clock: Clock
  readonly #log: Log
  readonly #plane: ControlPlane
  readonly #sink: RpcSink
  readonly #look: () => Promise<Sight>
  #stop: (() => void) | undefined
  #timer: Timer | undefined
  #mark: string | undefined
  #looking = false
  #changed = false
  #full = false
  #ended = false
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(
    { plane, clock, log }: { readonly plane: ControlPlane; readonly clock: Clock; readonly log: Log },
    sink: RpcSink,
    look: () => Promise<Sight>,
  ) {
    this.#plane = plane
    this.#clock = clock
    this.#log = log
    this.#sink = sink
    this.#look = look
  }

  start(): void {
    const watch = this.#plane.watch(() => {
      this.#changed = true
      this.#schedule(pauseMs)
    })
    this.#stop = () => watch.stop()
    this.#changed = true
    this.#schedule(pauseMs)
  }

  drained(): void {
    this.#full = false
    this.#schedule(this.#changed ? pauseMs : lookAgainMs)
  }

  closed(): void {
    this.#ended = true
    this.#stop?.()
    this.#timer?.cancel()
  }

  #schedule(afterMs: number): void {
    if (this.#ended || this.#looking || this.#full) return
    this.#timer?.cancel()
    const waitMs = Math.max(0, this.#lookedAt + afterMs - this.#clock.monotonic())
    this.#timer = this.#clock.after(Number.isFinite(waitMs) ? waitMs : 0, () => this.#lookNow())
  }

  #lookNow(): void {
    this.#looking = true
    this.#changed = false
    this.#lookedAt = this.#clock.monotonic()
    this.#look().then(
      (sight) => this.#seen(sight),
      (error: unknown) => {
        this.#log.error('a watch failed', { error: errorText(error) })
        this.#seen(failed('INTERNAL', 'a defect of this software; its log says more'))
      },
    )
  }

  #seen(sight: Sight): void {
    this.#looking = false
    if (this.#ended) return
    if (sight.kind === 'failed') {
      this.#sink.end(sight)
      this.closed()
      return
    }
    if (sight.mark !== this.#mark) this.#full = !this.#sink.send(sight.value)
    this.#mark = sight.mark
    if (sight.last) {
      this.#sink.end()
      this.closed()
      return
    }
    this.#schedule(this.#changed ? pauseMs : lookAgainMs)
  }
}
