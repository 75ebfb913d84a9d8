/**
 * Following a plan until it has ended: a bar on a terminal, a line for each change elsewhere.
 *
 * The control process may die and another take the lead: the watch is begun again until nobody has answered for
 * `silenceMsMax`. The plan goes on without anybody watching.
 */

import type { PlanStatus } from '../contract/cluster-status.ts'
import type { ControlClient } from './control-client.ts'
import type { Context } from './verb.ts'

export type Followed =
  | { readonly kind: 'ended'; readonly plan: PlanStatus }
  /** It may go on, unseen. */
  | { readonly kind: 'unseen'; readonly why: string }

const silenceMsMax = 60_000
const againMs = 1000
const barCharacters = 24

export async function followPlan(context: Context, client: ControlClient, id: string): Promise<Followed> {
  const { clock } = context.world
  const progress = new ProgressLine(context)
  let last: PlanStatus | undefined
  let heardAt = clock.monotonic()
  for (;;) {
    const failure = await client.watch<{ plan: PlanStatus }>('WatchPlan', { plan: id }, ({ plan }) => {
      last = plan
      heardAt = clock.monotonic()
      progress.show(plan)
    })
    if (last !== undefined && (last.state === 'done' || last.state === 'cancelled')) {
      progress.end()
      return { kind: 'ended', plan: last }
    }
    const why = failure?.why ?? 'the watch ended'
    const gone = failure?.code === 'NOT_FOUND' || failure?.code === 'PERMISSION_DENIED'
    if (gone || clock.monotonic() - heardAt > silenceMsMax) {
      progress.end()
      return { kind: 'unseen', why }
    }
    await context.sleep(againMs)
  }
}

/** `moving 01, 02: 120 of 480 messages, 1.2 MB of 5.0 MB`. */
export function progressText(plan: PlanStatus): string {
  const { moved, left, movedBytes, leftBytes, leaving, waiting, state } = plan
  const what = state === 'cancelling' ? 'cancelling' : state === 'running' ? 'moving' : state
  const counts = `${moved} of ${moved + left} messages, ${bytesText(movedBytes)} of ${bytesText(movedBytes + leftBytes)}`
  const waits = waiting.length === 0 ? '' : `; waits: ${waiting.join('; ')}`
  return `${what} ${leaving.join(', ')}: ${counts}${waits}`
}

export function progressBar({ moved, left, state }: PlanStatus): string {
  const part = state === 'done' ? 1 : moved + left === 0 ? 0 : moved / (moved + left)
  const full = Math.floor(part * barCharacters)
  return `[${'#'.repeat(full)}${'.'.repeat(barCharacters - full)}] ${String(Math.floor(part * 100)).padStart(3)} %`
}

export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${units[unit]}`
}

class ProgressLine {
  readonly #context: Context
  #last = ''

  constructor(context: Context) {
    this.#context = context
  }

  show(plan: PlanStatus): void {
    const { terminal, output } = this.#context
    const text = progressText(plan)
    if (terminal !== undefined && output !== 'json') {
      const line = `${progressBar(plan)} ${text}`.slice(0, terminal.columns - 1)
      terminal.write(`\r\x1b[K${line}`)
      this.#last = line
      return
    }
    // What is waited for may count seconds down: that is no news.
    const news = `${plan.moved} ${plan.left} ${text.replace(/\d+ s\b/g, '')}`
    if (news === this.#last) return
    this.#last = news
    if (output === 'json') this.#context.complain(text)
    else this.#context.print(text)
  }

  end(): void {
    if (this.#context.terminal !== undefined && this.#context.output !== 'json' && this.#last !== '') {
      this.#context.terminal.write('\n')
    }
  }
}
