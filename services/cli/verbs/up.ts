/**
 * `qmq up`: the whole layout as one process tree. Prepares the state, holds the hub, keeps every instance running, says when
 * all are ready, and stops them in order: edges first, so that what they have taken is handed over, then queues.
 *
 * Refuses at once what no waiting will help: a wrong conf-qmq, a state that another cluster runs on, a port another program
 * has. With NATS gone it starts all the same, on the last layout on disk. With `--once -o json` the last line is the answer, also where nothing was started.
 */

import type { Layout } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'
import { displayText } from '../../protocol/byte-string.ts'
import { errorText } from '../../protocol/failure.ts'
import { lockHome } from '../../runtime/home-lock.ts'
import { CertificateRenewal, ensureCertificates } from '../cluster-certificates.ts'
import { ClusterLink, layoutSigner } from '../cluster-link.ts'
import { ClusterTree } from '../cluster-tree.ts'
import { CommandSignals } from '../command-signals.ts'
import { showFirstMessage } from '../first-message.ts'
import { portsRefused } from '../port-probe.ts'
import { planState, readConfFile, type StatePlan, writeState } from '../prepare-state.ts'
import { rereadConf } from '../reread-conf.ts'
import { textTable } from '../text-table.ts'
import type { Context, ExitCode, Input, Verb } from '../verb.ts'

export const upVerb: Verb = {
  name: 'up',
  summary: 'start the cluster and keep it running; SIGHUP reads conf-qmq again',
  options: [
    ['--once', 'send one message through all tiers, print its trace, stop; exit 1 if it did not arrive'],
    [
      '--first-message',
      'send that message, and go on running; the default where the state is new, but not with -o json',
    ],
    ['--no-first-message', 'do not'],
  ],
  lasting: true,
  run: up,
}

const lookAgainMs = 50
const readyWaitMsOnce = 60_000
/** After this, it is said once who is being waited for. */
const patienceMs = 10_000

/** Why nothing runs. */
interface Refused {
  readonly why: readonly string[]
  readonly exit: ExitCode
}

async function up(context: Context, input: Input): Promise<ExitCode> {
  const once = input.options['once'] === true
  const refused = await start(context, input).catch((error: unknown): Refused => ({ why: [errorText(error)], exit: 1 }))
  if (typeof refused === 'number') return refused
  for (const line of refused.why) context.complain(line)
  if (once && context.output === 'json') {
    const why = refused.why.join('; ')
    context.print(JSON.stringify({ ready: false, delivered: false, id: '', trace: [], why }))
  }
  return refused.exit
}

async function start(context: Context, input: Input): Promise<ExitCode | Refused> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') return { why: file.problems, exit: 2 }
  for (const note of file.notes) context.complain(`note: ${note}`)
  await context.world.disk.makeDirectory(context.state)
  const lock = lockHome(context.state)
  if (lock.kind === 'taken') {
    return { why: [`a cluster is already running on ${context.state}, as process ${lock.pid}`], exit: 1 }
  }
  let link: ClusterLink | undefined
  try {
    const fresh = await planState(context, file.conf)
    const { coordination } = fresh.layout
    link = coordination === undefined ? undefined : await ClusterLink.open(context, coordination)
    const plan = (await link?.meet(fresh, file.conf)) ?? fresh
    const ports = await portsRefused(context.world, context.state, plan.layout)
    if (ports.length > 0) return { why: ports, exit: 1 }
    await writeState(context, plan)
    await ensureCertificates(context, plan.layout)
    return await carry(context, input, plan, link)
  } finally {
    link?.close()
    lock.release()
  }
}

async function carry(
  context: Context,
  input: Input,
  plan: StatePlan,
  link: ClusterLink | undefined,
): Promise<ExitCode | Refused> {
  const once = input.options['once'] === true
  const signals = new CommandSignals()
  const sign = await layoutSigner(context)
  const tree = await ClusterTree.start(context, plan.layout, sign)
  const renewal = new CertificateRenewal(context, () => tree.layout)
  try {
    await link?.carry(tree, sign)
    tree.run()
    const ready = await untilReady(context, tree, signals, once)
    if (ready === 'stopped') return once ? { why: ['stopped before it was ready'], exit: 1 } : 0
    if (typeof ready === 'string') return { why: [ready], exit: 1 }
    if (!once || context.output !== 'json') context.print(readyText(context, tree.layout, ready))
    const asked = input.options['firstMessage']
    const wanted = once || (asked ?? (plan.isNew && context.output !== 'json')) === true
    const delivered = wanted ? await showFirstMessage(context, signals) : true
    if (once) return delivered ? 0 : 1
    if (context.output === 'text' && !signals.stopAsked) {
      context.print('Running. Stop with Ctrl-C; `qmq status` looks in.')
    }
    while ((await signals.next()) === 'reread') await rereadConf(context, tree, link)
    return 0
  } finally {
    renewal.close()
    await tree.shutDown()
  }
}

/** The states of all instances once each of them is ready; else why not. */
async function untilReady(
  context: Context,
  tree: ClusterTree,
  signals: CommandSignals,
  once: boolean,
): Promise<readonly InstanceState[] | string> {
  for (let waitedMs = 0; !signals.stopAsked; waitedMs += lookAgainMs) {
    const states = tree.readyStates()
    if (states !== undefined) return states
    const waiting = () => `${tree.describeUnready().join(', ')}; logs are in ${context.state}/log`
    if (once && waitedMs >= readyWaitMsOnce) return `not ready after ${readyWaitMsOnce / 1000} s: ${waiting()}`
    if (waitedMs === patienceMs) context.complain(`after ${patienceMs / 1000} s still waiting for ${waiting()}`)
    await context.sleep(lookAgainMs)
  }
  return 'stopped'
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
