/**
 * `qmq up`: the whole layout as one process tree. Prepares the state, holds the hub, keeps every instance running, says when
 * all are ready, and stops them in order: edges first, so that what they have taken is handed over, then queues.
 */

import type { Layout } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'
import { displayText } from '../../protocol/byte-string.ts'
import { lockHome } from '../../runtime/home-lock.ts'
import { ClusterClient } from '../cluster-client.ts'
import { ClusterTree } from '../cluster-tree.ts'
import { type FirstMessage, sendFirstMessage } from '../first-message.ts'
import { traceTable } from '../message-trace.ts'
import { prepareState, readConfFile } from '../prepare-state.ts'
import { textTable } from '../text-table.ts'
import type { Context, ExitCode, Input, Verb } from '../verb.ts'

export const upVerb: Verb = {
  name: 'up',
  summary: 'start the cluster and keep it running',
  options: [
    ['--once', 'send one message through all tiers, print its trace, stop; exit 1 if it did not arrive'],
    ['--no-first-message', 'do not send a message through the cluster when it is ready (-o json never does)'],
  ],
  lasting: true,
  run: up,
}

const lookAgainMs = 50
const readyWaitMsOnce = 60_000

async function up(context: Context, input: Input): Promise<ExitCode> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') {
    for (const problem of file.problems) context.complain(problem)
    return 2
  }
  for (const note of file.notes) context.complain(`note: ${note}`)
  await context.world.disk.makeDirectory(context.state)
  const lock = lockHome(context.state)
  if (lock.kind === 'taken') {
    context.complain(`a cluster is already running on ${context.state}, as process ${lock.pid}`)
    return 1
  }
  try {
    const layout = await prepareState(context, file.conf)
    return await carry(context, input, layout)
  } finally {
    lock.release()
  }
}

async function carry(context: Context, input: Input, layout: Layout): Promise<ExitCode> {
  const once = input.options['once'] === true
  const stopped = stopSignal()
  const tree = await ClusterTree.start(context, layout)
  try {
    const ready = await untilReady(context, tree, stopped, once)
    if (ready === undefined) return stopped.asked ? 0 : 1
    if (!once || context.output !== 'json') context.print(readyText(context, layout, ready))
    const wanted = once || (input.options['firstMessage'] !== false && context.output !== 'json')
    const delivered = wanted ? await showFirstMessage(context, once) : true
    if (once) return delivered ? 0 : 1
    await stopped.promise
    return 0
  } finally {
    await tree.stop()
  }
}

interface StopSignal {
  asked: boolean
  readonly promise: Promise<void>
}

/** The second signal changes nothing: stopping has its own limits. */
function stopSignal(): StopSignal {
  const { promise, resolve } = Promise.withResolvers<void>()
  const stopped: StopSignal = { asked: false, promise }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      stopped.asked = true
      resolve()
    })
  }
  return stopped
}

/** The states of all instances once each of them is ready; undefined where we are told to stop or it takes too long. */
async function untilReady(
  context: Context,
  tree: ClusterTree,
  stopped: StopSignal,
  once: boolean,
): Promise<readonly InstanceState[] | undefined> {
  for (let waitedMs = 0; !stopped.asked; waitedMs += lookAgainMs) {
    const states = tree.states()
    if (states.length === tree.ids.length && states.every((state) => state.phase === 'ready')) return states
    if (once && waitedMs >= readyWaitMsOnce) {
      context.complain(`not ready after ${readyWaitMsOnce / 1000} s; logs are in ${context.state}/log`)
      return undefined
    }
    await context.sleep(lookAgainMs)
  }
  return undefined
}

function readyText(context: Context, layout: Layout, states: readonly InstanceState[]): string {
  const listeners = states.flatMap(({ tier, id, listeners }) =>
    listeners.map(({ kind, host, port }) => ({ tier, instance: id, kind, host, port })),
  )
  const { cluster, epoch } = layout
  if (context.output === 'json') {
    return JSON.stringify({ ready: true, cluster, epoch, state: context.state, pid: process.pid, listeners })
  }
  const rows = states.map(({ id, tier, pool, pid, listeners }) => [
    id,
    tier,
    pool ?? '',
    String(pid),
    listeners.map(({ kind, host, port }) => `${kind} ${host}:${port}`).join(', '),
  ])
  const table = textTable(['ID', 'TIER', 'POOL', 'PID', 'LISTENS ON'], rows)
  return `${displayText(cluster)} is ready, epoch ${epoch}, state in ${context.state}\n\n${table}\n`
}

async function showFirstMessage(context: Context, once: boolean): Promise<boolean> {
  const client = await ClusterClient.open(context)
  try {
    const first = await sendFirstMessage(context, client)
    context.print(firstMessageText(context, first))
    if (!first.delivered) context.complain(`the first message: ${first.why ?? 'did not arrive'}`)
    else if (!once && context.output === 'text') context.print('\nRunning. Stop with Ctrl-C; `qmq status` looks in.')
    return first.delivered
  } finally {
    client.close()
  }
}

function firstMessageText(context: Context, first: FirstMessage): string {
  const { delivered, id, trace, why } = first
  if (context.output === 'json') {
    const steps = trace.map(({ tier, instance, event, at }) => ({ tier, instance, event, at }))
    return JSON.stringify({ ready: true, delivered, id, trace: steps, ...(why === undefined ? {} : { why }) })
  }
  if (trace.length === 0) return 'No message was sent.'
  return `One message through all tiers, ${id}, its bounce included:\n\n${traceTable(trace)}`
}
