/**
 * `qmq drill nats-down|redis-down|kill ID`: proves on the running cluster that mail survives what it must survive. Probe messages
 * before, during and after the fault; exit code 0 only where every promise held, 3 where the cluster is not whole to begin with.
 *
 * Safe in production by its bounds: nothing is taken away for longer than a minute, all comes back without this command, and what it
 * sends is its own.
 */

import { drillMsMax, drillMsMin } from '../../contract/drill.ts'
import type { Audit } from '../../contract/operations.ts'
import { readDuration, writeDuration } from '../../settings/duration.ts'
import { ClusterClient } from '../cluster-client.ts'
import { type DrillReport, drillText, reportOf } from '../drill/drill-report.ts'
import { dependencyDown, type Fault, killOf, patienceMsOf, runningPlaces } from '../drill/faults.ts'
import { type ProbeAddresses, Probes } from '../drill/probes.ts'
import { describeState, isReady } from '../instance-states.ts'
import { type Context, countOption, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

const probesDefault = 10
const probesMax = 1000
const probeEveryMs = 100
/** During a fault, also while nobody answers. */
const faultProbeEveryMs = 250
const forDefault = '10s'
const lookAgainMs = 250
const backWaitMs = 30_000

const forOption = ['--for <duration>', `how long, default ${forDefault}`] as const
const commonOptions = [
  ['--to <address...>', 'where the probes go, default the first mailbox of the cluster'],
  ['--from <address>', 'their sender, default the last mailbox of the cluster'],
  ['--probes <number>', `how many before and after, default ${probesDefault}`],
  ['--yes', 'do it; without this it is only said what would be done'],
] as const

export const drillVerbs: readonly Verb[] = [
  {
    name: 'drill nats-down',
    summary: 'every instance does without coordination for a while',
    options: [forOption, ...commonOptions],
    run: (context, input) => drill(context, input, 'coordination'),
  },
  {
    name: 'drill redis-down',
    summary: 'every edge does without shared state for a while',
    options: [forOption, ...commonOptions],
    run: (context, input) => drill(context, input, 'shared-state'),
  },
  {
    name: 'drill kill',
    summary: 'SIGKILL to one instance on this machine',
    arguments: '<instance>',
    options: commonOptions,
    run: (context, input) => drill(context, input, 'kill'),
  },
]

interface Wishes {
  readonly forMs: number
  readonly probes: number
  readonly addresses: ProbeAddresses
}

async function drill(
  context: Context,
  input: Input,
  what: 'coordination' | 'shared-state' | 'kill',
): Promise<ExitCode> {
  const client = await ClusterClient.open(context)
  try {
    const wishes = wishesOf(client, input)
    if (typeof wishes === 'string') return complain(context, wishes, 2)
    const [id = ''] = input.words
    const place = client.places.find((candidate) => candidate.id === id)
    if (what === 'kill' && place === undefined) {
      const known = client.places.map((candidate) => candidate.id).join(' ')
      return complain(context, `the layout has no instance ${id}; it has ${known}`, 2)
    }
    const degraded = await degradedBy(client)
    if (degraded !== undefined) return complain(context, `a drill begins on a whole cluster: ${degraded}`, 3)
    const { forMs } = wishes
    const fault =
      what === 'kill' && place !== undefined
        ? killOf(context, client, place)
        : dependencyDown(context, client, {
            ...{ dependency: what === 'kill' ? 'coordination' : what, forMs },
            places: runningPlaces(client).filter(({ tier }) => what === 'coordination' || tier === 'edge'),
          })
    if (typeof fault === 'string') return complain(context, fault, 1)
    if (input.options['yes'] !== true)
      return complain(context, `${fault.what}\nNothing was done: say --yes to do it`, 2)
    return await carryOut(context, client, fault, wishes)
  } finally {
    client.close()
  }
}

function complain(context: Context, why: string, exit: ExitCode): ExitCode {
  context.complain(why)
  return exit
}

function wishesOf(client: ClusterClient, input: Input): Wishes | string {
  const duration = readDuration(textOption(input, 'for') ?? forDefault)
  if (!duration.ok) return `--for: ${duration.message}; ${duration.remedy}`
  if (duration.value < drillMsMin || duration.value > drillMsMax) {
    return `--for is from ${writeDuration(drillMsMin)} to ${writeDuration(drillMsMax)}`
  }
  const probes = countOption(input, 'probes', probesDefault)
  if (probes === undefined || probes > probesMax) return `--probes is a whole number from 1 to ${probesMax}`
  const mailboxes = client.layout.pools.flatMap((pool) => pool.mailboxes)
  const to = Array.isArray(input.options['to']) ? input.options['to'].map(String) : mailboxes.slice(0, 1)
  const from = textOption(input, 'from') ?? mailboxes.at(-1)
  if (to.length === 0 || from === undefined) return 'this cluster has no mailboxes: name --from and --to'
  return { forMs: duration.value, probes, addresses: { from, to } }
}

/** Who is not well before anything was done, so that nothing is blamed on the drill; undefined where all are. */
async function degradedBy(client: ClusterClient): Promise<string | undefined> {
  const heard = await client.states()
  if (heard.kind === 'unheard') return heard.why
  const { epoch } = client.layout
  const unwell = runningPlaces(client).flatMap(({ id }) => {
    const state = heard.states.get(id)
    return state !== undefined && isReady(state, epoch) ? [] : [`${id} (${describeState(state, epoch)})`]
  })
  return unwell.length === 0 ? undefined : unwell.join(', ')
}

async function carryOut(context: Context, client: ClusterClient, fault: Fault, wishes: Wishes): Promise<ExitCode> {
  const { clock } = context.world
  const probes = new Probes(context, client, wishes.addresses)
  const note = (text: string) => {
    if (context.output !== 'json') context.complain(text)
  }
  note(`before: ${wishes.probes} probes`)
  await probes.sendMany('before', wishes.probes, probeEveryMs)
  // Seen to have arrived while every ledger is still whole.
  await probes.missing()
  note(`now: ${fault.what}`)
  const refusal = await fault.begin()
  if (refusal !== undefined) return complain(context, `${fault.name}: ${refusal}`, 1)
  const unfelt = await sendDuring(context, fault, probes, patienceMsOf(fault, wishes.forMs))
  const endedAt = clock.monotonic()
  const absent = await untilBack(context, fault)
  const backMs = Math.round(clock.monotonic() - endedAt)
  note(`after: ${wishes.probes} probes`)
  await probes.sendMany('after', wishes.probes, probeEveryMs)
  const findings = { drill: fault.name, isKill: fault.isKill, unfelt, absent, backMs }
  const missing = await probes.missing()
  const unbalanced = await unbalancedOf(client)
  const report = reportOf({ ...findings, probes: await probes.sent(), missing, unbalanced })
  show(context, report)
  return report.held ? 0 : 1
}

/** Probes until the fault has ended; answers why it was none. Looks in the middle, when both its ends are far. */
async function sendDuring(
  context: Context,
  fault: Fault,
  probes: Probes,
  patienceMs: number,
): Promise<string | undefined> {
  const { clock } = context.world
  const begun = clock.monotonic()
  let looked: Promise<string | undefined> | undefined
  do {
    probes.send('during')
    await context.sleep(faultProbeEveryMs)
    if (clock.monotonic() - begun >= 2 * faultProbeEveryMs) looked ??= fault.unfelt()
  } while (!(await fault.hasEnded()) && clock.monotonic() - begun < patienceMs)
  return await (looked ?? fault.unfelt())
}

async function untilBack(context: Context, fault: Fault): Promise<readonly string[]> {
  for (let waitedMs = 0; ; waitedMs += lookAgainMs) {
    const absent = await fault.absent()
    if (absent.length === 0 || waitedMs >= backWaitMs) return absent
    await context.sleep(lookAgainMs)
  }
}

async function unbalancedOf(client: ClusterClient): Promise<readonly string[]> {
  const audits = await Promise.all(
    runningPlaces(client)
      .filter(({ tier }) => tier === 'queue')
      .map(async ({ id }) => ({ id, result: await client.ask(id, 'audit', {}) })),
  )
  return audits.flatMap(({ id, result }) => {
    if (result.kind !== 'reply') return [`${id} (no audit, ${result.kind === 'refused' ? result.why : 'no answer'})`]
    return (result.value as unknown as Audit).balanced ? [] : [id]
  })
}

function show(context: Context, report: DrillReport): void {
  context.print(context.output === 'json' ? JSON.stringify(report) : drillText(report))
}
