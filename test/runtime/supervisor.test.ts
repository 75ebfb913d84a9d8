/** The supervisor on a clock of its own: back-off, order of stopping, and processes that do not want to go. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { BackOff } from '../../services/runtime/back-off.ts'
import { type Ending, Supervisor } from '../../services/runtime/supervisor.ts'
import type { Clock, Timer } from '../../services/runtime/world.ts'

class ManualClock implements Clock {
  #now = 0
  #timers: { at: number; task: () => void }[] = []

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  soon(task: () => void): void {
    this.after(0, task)
  }

  after(delayMs: number, task: () => void): Timer {
    const timer = { at: this.#now + delayMs, task }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  /** Runs everything that is due in the next `delayMs`, in order. */
  advance(delayMs: number): void {
    const end = this.#now + delayMs
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= end).sort((one, other) => one.at - other.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#now = next.at
      next.task()
    }
    this.#now = end
  }
}

interface Process {
  readonly id: string
  readonly pid: number
  readonly signals: string[]
  end(ending?: Ending): void
}

function setUp(): { clock: ManualClock; supervisor: Supervisor; processes: Process[]; story: string[] } {
  const clock = new ManualClock()
  const processes: Process[] = []
  const story: string[] = []
  const supervisor = new Supervisor(
    clock,
    (id, ended) => {
      const pid = 100 + processes.length
      const signals: string[] = []
      processes.push({ id, pid, signals, end: (ending = { code: 1, signal: null }) => ended(ending) })
      return {
        pid,
        signal: (signal) => {
          signals.push(signal)
          story.push(`${id} ${signal} at ${clock.now()}`)
        },
      }
    },
    {
      started: (id, pid) => story.push(`${id} started as ${pid} at ${clock.now()}`),
      ended: (id, pid, _ending, restartInMs) =>
        story.push(`${id} ${pid} ended at ${clock.now()}, again in ${restartInMs}`),
    },
    { firstMs: 100, lastMs: 1_000, healthyMs: 5_000 },
  )
  return { clock, supervisor, processes, story }
}

it('waits longer after each short life and starts over after a long one', () => {
  const backOff = new BackOff({ firstMs: 100, lastMs: 1_000, healthyMs: 5_000 })
  const waits = [0, 10, 20, 4_999, 30, 40, 5_000, 0].map((livedMs) => backOff.next(livedMs))
  assert.deepEqual(waits, [100, 200, 400, 800, 1_000, 1_000, 100, 200])
})

it('starts again what ends, after its wait and not before', () => {
  const { clock, supervisor, processes, story } = setUp()
  supervisor.start('00')
  supervisor.start('00')
  processes[0]?.end()
  assert.equal(supervisor.pidOf('00'), undefined)
  clock.advance(99)
  assert.equal(processes.length, 1)
  clock.advance(1)
  assert.equal(supervisor.pidOf('00'), 101)
  processes[1]?.end()
  clock.advance(200)
  clock.advance(5_000)
  processes[2]?.end({ code: null, signal: 'SIGKILL' })
  clock.advance(100)
  assert.deepEqual(story, [
    '00 started as 100 at 0',
    '00 100 ended at 0, again in 100',
    '00 started as 101 at 100',
    '00 101 ended at 100, again in 200',
    '00 started as 102 at 300',
    '00 102 ended at 5300, again in 100',
    '00 started as 103 at 5400',
  ])
})

it('stops one group after the other and kills what does not go', async () => {
  const { clock, supervisor, processes, story } = setUp()
  for (const id of ['e1', '00', '90']) supervisor.start(id)
  const [edge, queue, bounce] = processes
  let stopped = false
  const stopping = supervisor.stop([['e1'], ['00', '90']], 1_000).then(() => {
    stopped = true
  })
  clock.advance(10)
  assert.deepEqual(story.slice(3), ['e1 SIGTERM at 0'])
  edge?.end({ code: 0, signal: null })
  await new Promise((resolve) => setImmediate(resolve))
  bounce?.end({ code: 0, signal: null })
  clock.advance(999)
  assert.deepEqual(queue?.signals, ['SIGTERM'])
  clock.advance(1)
  assert.deepEqual(queue?.signals, ['SIGTERM', 'SIGKILL'])
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(stopped, false)
  queue?.end({ code: null, signal: 'SIGKILL' })
  await stopping
  clock.advance(60_000)
  assert.equal(processes.length, 3, 'nothing starts again')
  supervisor.start('01')
  assert.equal(processes.length, 3, 'nothing new starts')
})

it('what was waiting to be started again when the stop came stays down', async () => {
  const { clock, supervisor, processes } = setUp()
  supervisor.start('00')
  processes[0]?.end()
  await supervisor.stop([['00']], 1_000)
  clock.advance(60_000)
  assert.equal(processes.length, 1)
})

it('a launcher that throws is an ending: tried again, and no obstacle to a stop', async () => {
  const clock = new ManualClock()
  let launches = 0
  const endings: string[] = []
  const launch = () => {
    launches++
    throw new Error('too many open files')
  }
  const events = { started() {}, ended: (_id: string, _pid: number, { error = '' }: Ending) => endings.push(error) }
  const supervisor = new Supervisor(clock, launch, events, { firstMs: 100, lastMs: 1_000, healthyMs: 5_000 })
  supervisor.start('00')
  clock.advance(0)
  assert.deepEqual([launches, endings], [1, ['too many open files']])
  clock.advance(100)
  assert.equal(launches, 2)
  await supervisor.stop([['00']], 1_000)
  clock.advance(60_000)
  assert.equal(launches, 2)
})

it('retires one for good, killing it where it does not go, and the others run on; it may be started anew meanwhile', async () => {
  const { clock, supervisor, processes } = setUp()
  for (const id of ['01', '02']) supervisor.start(id)
  let gone = false
  const retired = supervisor.retire('01', 1_000).then(() => {
    gone = true
  })
  assert.deepEqual(processes[0]?.signals, ['SIGTERM'])
  supervisor.start('01')
  assert.equal(supervisor.pidOf('01'), 102)
  clock.advance(1_000)
  assert.deepEqual(processes[0]?.signals, ['SIGTERM', 'SIGKILL'])
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(gone, false)
  processes[0]?.end({ code: null, signal: 'SIGKILL' })
  await retired
  clock.advance(60_000)
  assert.equal(processes.length, 3, 'the retired one does not come back')
  processes[1]?.end()
  clock.advance(100)
  assert.equal(processes.length, 4, 'the other does')
  await supervisor.retire('unknown', 1_000)
})

it('one that waits to be started again is retired without a process', async () => {
  const { clock, supervisor, processes } = setUp()
  supervisor.start('01')
  processes[0]?.end()
  await supervisor.retire('01', 1_000)
  clock.advance(60_000)
  assert.equal(processes.length, 1)
})
