/** The few arguments of a tier's own program: `[VERB] --state DIR --id ID [WORD...]`. The `qmq` command writes them. */

import { parseArgs } from 'node:util'

type TierArguments =
  | {
      readonly kind: 'read'
      readonly verb: string
      readonly state: string
      readonly id: string
      readonly words: readonly string[]
    }
  | { readonly kind: 'unusable'; readonly why: string }

export function readTierArguments(argv: readonly string[]): TierArguments {
  try {
    const options = { state: { type: 'string' }, id: { type: 'string' } } as const
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true })
    const [verb = 'run', ...words] = positionals
    if (values.state === undefined || values.id === undefined) {
      return { kind: 'unusable', why: 'usage: [run|verify|audit|list] --state DIR --id ID' }
    }
    return { kind: 'read', verb, state: values.state, id: values.id, words }
  } catch (error) {
    return { kind: 'unusable', why: error instanceof Error ? error.message : String(error) }
  }
}
