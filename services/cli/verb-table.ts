/**
 * Which file has which verbs. What a command does not need takes its time to load, gRPC, NATS and the settings above all: so only the files
 * are loaded whose verbs the command line may mean. Help and completion show every verb.
 */

import type { Verb } from './verb.ts'

interface VerbFile {
  /** The first words of its verbs. */
  readonly words: readonly string[]
  load(): Promise<readonly Verb[]>
}

/** As help shows them. */
const files: readonly VerbFile[] = [
  { words: ['up'], load: async () => [(await import('./verbs/up.ts')).upVerb] },
  { words: ['run'], load: async () => [(await import('./verbs/run.ts')).runVerb] },
  { words: ['status'], load: async () => [(await import('./verbs/status.ts')).statusVerb] },
  { words: ['top'], load: async () => [(await import('./verbs/top.ts')).topVerb] },
  { words: ['send'], load: async () => [(await import('./verbs/send.ts')).sendVerb] },
  { words: ['scale'], load: async () => [(await import('./verbs/scale.ts')).scaleVerb] },
  { words: ['drain', 'cordon', 'uncordon'], load: async () => (await import('./verbs/drain.ts')).instanceVerbs },
  { words: ['plan'], load: async () => (await import('./verbs/plan.ts')).planVerbs },
  { words: ['queue'], load: async () => (await import('./verbs/queue.ts')).queueVerbs },
  { words: ['trace'], load: async () => [(await import('./verbs/trace.ts')).traceVerb] },
  { words: ['audit'], load: auditVerbs },
  { words: ['check'], load: async () => [(await import('./verbs/check.ts')).checkVerb] },
  { words: ['drill'], load: async () => (await import('./verbs/drill.ts')).drillVerbs },
  { words: ['context'], load: async () => (await import('./verbs/context.ts')).contextVerbs },
  { words: ['nats'], load: async () => (await import('./verbs/nats.ts')).natsVerbs },
  { words: ['redis'], load: async () => [(await import('./verbs/redis.ts')).redisAclVerb] },
  { words: ['ca'], load: async () => (await import('./verbs/ca.ts')).caVerbs },
  { words: ['completion'], load: async () => [(await import('./verbs/completion.ts')).completionVerb(allVerbs)] },
  { words: ['version'], load: async () => [(await import('./verbs/version.ts')).versionVerb] },
]

/** The verb itself comes before those below it. */
async function auditVerbs(): Promise<readonly Verb[]> {
  const [{ auditVerb }, { receiptVerb }, { ordersVerb }] = await Promise.all([
    import('./verbs/audit.ts'),
    import('./verbs/receipt.ts'),
    import('./verbs/orders.ts'),
  ])
  return [auditVerb, receiptVerb, ordersVerb]
}

const asksForHelp: ReadonlySet<string> = new Set(['help', '--help', '-h'])
const asksForVersion: ReadonlySet<string> = new Set(['--version', '-V'])

/** Those that `argv` may mean, whatever stands before the verb; all of them where it names none, or wants help. */
export async function verbsFor(argv: readonly string[]): Promise<readonly Verb[]> {
  const named = files.filter(({ words }) => words.some((word) => argv.includes(word)))
  if (named.length === 0 && argv.some((word) => asksForVersion.has(word))) return []
  if (named.length === 0 || argv.some((word) => asksForHelp.has(word))) return await allVerbs()
  return await loaded(named)
}

export async function allVerbs(): Promise<readonly Verb[]> {
  return await loaded(files)
}

async function loaded(wanted: readonly VerbFile[]): Promise<readonly Verb[]> {
  const verbs = await Promise.all(wanted.map(({ load }) => load()))
  return verbs.flat()
}
