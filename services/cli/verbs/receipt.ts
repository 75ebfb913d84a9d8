/**
 * `qmq audit verify RECEIPT`: whether a receipt is true, from itself, the manifests beside it and the cluster's public key; nothing is
 * asked of anybody. A receipt is named by its file, its directory, PLAN-INSTANCE, or PLAN for all of a plan.
 */

import fs from 'node:fs'
import path from 'node:path'
import { checkReceipt, type ReceiptVerdict } from '../../control/receipt/receipt-check.ts'
import { receiptFileName } from '../../control/receipt/receipt-record.ts'
import { errorCode } from '../../protocol/failure.ts'
import { publicKeyFileName, type Verifier, verifierOf } from '../../runtime/signature.ts'
import { layoutFileName, readLayoutFile } from '../../runtime/tier-layout.ts'
import { bytesText } from '../plan-progress.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

export const receiptVerb: Verb = {
  name: 'audit verify',
  summary: 'check a receipt offline: signature, arithmetic, manifests',
  arguments: '<receipt>',
  options: [['--key <file>', `the cluster's public key, default ${publicKeyFileName} below the state directory`]],
  run: verify,
}

async function verify(context: Context, input: Input): Promise<ExitCode> {
  const [name = ''] = input.words
  const directories = await find(context, name)
  if (directories.length === 0) {
    context.complain(`there is no receipt ${name}: name its directory, its file, PLAN-INSTANCE or PLAN`)
    return 2
  }
  const keyFile = textOption(input, 'key') ?? path.join(context.state, publicKeyFileName)
  let verifier: Verifier
  try {
    verifier = verifierOf(fs.readFileSync(keyFile, 'utf8'), keyFile)
  } catch (error) {
    const why = errorCode(error) === '' ? String(error instanceof Error ? error.message : error) : errorCode(error)
    context.complain(`${keyFile} cannot be used (${why}): name the public key of the cluster with --key`)
    return 2
  }
  const verdicts = directories.map((directory) => ({ directory, verdict: check(directory, verifier) }))
  if (context.output === 'json') {
    context.print(JSON.stringify(verdicts.map(({ directory, verdict }) => ({ directory, ...verdict }))))
  } else for (const { directory, verdict } of verdicts) context.print(verdictText(directory, verdict))
  return verdicts.every(({ verdict }) => verdict.ok) ? 0 : 1
}

async function find({ world, state }: Context, name: string): Promise<readonly string[]> {
  if (path.basename(name) === receiptFileName && fs.existsSync(name)) return [path.dirname(path.resolve(name))]
  if (fs.existsSync(path.join(name, receiptFileName))) return [path.resolve(name)]
  if (!/^[0-9A-HJKMNP-TV-Z]{26}(-\d{2,3})?$/.test(name)) return []
  const layout = await readLayoutFile(world.disk, `${state}/${layoutFileName}`)
  if (typeof layout === 'string') return []
  return layout.control.flatMap(({ home }) => {
    const folder = path.join(state, home, 'receipts')
    const names = fs.existsSync(folder) ? fs.readdirSync(folder) : []
    const own = names.filter((one) => one === name || one.startsWith(`${name}-`))
    return own.map((one) => path.join(folder, one)).filter((one) => fs.existsSync(path.join(one, receiptFileName)))
  })
}

function check(directory: string, verifier: Verifier): ReceiptVerdict {
  return checkReceipt({
    text: fs.readFileSync(path.join(directory, receiptFileName), 'utf8'),
    verify: (text) => verifier.verify(text),
    manifest: (file) => {
      const whole = path.join(directory, path.basename(file))
      return fs.existsSync(whole) ? fs.readFileSync(whole, 'utf8') : undefined
    },
  })
}

function verdictText(directory: string, { ok, receipt, signer, problems }: ReceiptVerdict): string {
  const lines = [`${directory}: ${ok ? 'true' : 'NOT TRUE'}`]
  if (receipt !== undefined) {
    const { plan, pool, instance, messages, bytes, recipients, by, sealedAt } = receipt
    lines.push(
      `  ${instance} of ${pool} left by plan ${plan}, sealed ${new Date(sealedAt).toISOString()}, ordered by ${by}`,
    )
    lines.push(`  ${messages} messages, ${recipients} recipients, ${bytesText(bytes)}`)
  }
  if (signer !== undefined) lines.push(`  signed by key ${signer}`)
  return [...lines, ...problems.map((problem) => `  ${problem}`)].join('\n')
}
