/**
 * `qmq ca`: the cluster's own certificate authority, and what it signs. See decision 0017.
 *
 *   init      makes it, once
 *   issue     certificates of the layout's places that are due, of one place, or of a person
 *   rotate    a new authority beside the old one; both are trusted until
 *   retire    which ends the trust in all but the newest
 *   ls        who has one, until when
 *
 * Everything here may be run again: what is done is not done twice, and what a killed command left half done is finished. No key is ever
 * written over but the one that belongs to a certificate that is being renewed.
 */

import fs from 'node:fs'
import path from 'node:path'
import { type PersonRole, personRoles, type TierName, tierNames } from '../../contract/identity.ts'
import type { Layout } from '../../contract/layout.ts'
import { compile } from '../../control/layout/compile.ts'
import { homeOwner } from '../../runtime/home-lock.ts'
import { credentialsPollMs } from '../../runtime/tier-credentials.ts'
import { layoutFileName, readLayoutFile } from '../../runtime/tier-layout.ts'
import { readDuration } from '../../settings/duration.ts'
import {
  type Authority,
  authorityDirectory,
  forgetOldGenerations,
  lockAuthority,
  makeGeneration,
  newestOf,
  readAuthority,
} from '../certificate-authority.ts'
import { type CertificateHolder, certificateHolders, soonOver } from '../certificate-holders.ts'
import { issueToPerson, personLifetimeMs } from '../person-certificate.ts'
import { readConfFile } from '../prepare-state.ts'
import { textTable } from '../text-table.ts'
import { certifiedPlaces, issueDue, writeTrust } from '../tier-certificates.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

const lifetimeOption = ['--lifetime <duration>', 'how long they are valid, such as 30d'] as const

export const caVerbs: readonly Verb[] = [
  { name: 'ca init', summary: 'make the certificate authority, once', run: locked(init) },
  {
    name: 'ca issue',
    summary: 'issue the certificates that are due, those of the ids named, or one for a person',
    arguments: '[ids...]',
    options: [
      ['--tier <tier>', `only places of this tier: ${tierNames.join(', ')}`],
      ['--again', 'also those that are not due yet'],
      ['--role <role>', `for a person, who may do as much: ${personRoles.join(', ')}`],
      ['--name <name>', 'who that is'],
      ['--out <dir>', 'where cert.pem, key.pem and ca.pem of a person are put'],
      lifetimeOption,
    ],
    run: locked(issueVerb),
  },
  {
    name: 'ca rotate',
    summary: 'a new authority beside the old one, and all certificates of the layout from it',
    options: [['--trust-only', 'make it and have it trusted; run again without this to issue'], lifetimeOption],
    run: locked(rotate),
  },
  { name: 'ca retire', summary: 'trust only the newest authority any more', run: locked(retire) },
  { name: 'ca ls', summary: 'who has a certificate, and until when; exit 3 where one is over, or soon', run: list },
]

/** A process reads its files this often; twice that, and all have. */
const settleMs = 2 * credentialsPollMs

type Work = (context: Context, input: Input) => Promise<ExitCode>

function locked(work: Work): Work {
  return async (context, input) => {
    const lock = await lockAuthority(context)
    if (lock.kind === 'taken') {
      context.complain(`the authority is in use by process ${lock.pid}`)
      return 1
    }
    try {
      return await work(context, input)
    } finally {
      lock.release()
    }
  }
}

async function init(context: Context): Promise<ExitCode> {
  const known = readAuthority(context.state)
  const layout = known === undefined ? await layoutOf(context) : undefined
  if (typeof layout === 'number') return layout
  const authority = known ?? (await makeGeneration(context, (layout as Layout).cluster))
  const { directory } = newestOf(authority)
  const words = known === undefined ? 'made' : 'is there already'
  say(context, { made: known === undefined, directory }, `the certificate authority ${words}: ${directory}`)
  return 0
}

async function issueVerb(context: Context, input: Input): Promise<ExitCode> {
  const wrong = wrongWords(input)
  if (wrong !== undefined) return usage(context, wrong)
  const layout = await layoutOf(context)
  if (typeof layout === 'number') return layout
  const authority = requireAuthority(context)
  const lifetimeMs = lifetimeOf(input)
  if (textOption(input, 'role') !== undefined) return await issuePerson(context, input, authority, layout)
  const tier = textOption(input, 'tier') as TierName | undefined
  const all = certifiedPlaces(layout).filter((place) => tier === undefined || place.tier === tier)
  const unknown = input.words.find((id) => all.every((place) => place.id !== id))
  if (unknown !== undefined) return usage(context, `the layout has no ${tier ?? 'place'} ${unknown}`)
  const places = input.words.length === 0 ? all : all.filter(({ id }) => input.words.includes(id))
  await writeTrust(context, authority, places)
  const again = input.options['again'] === true
  const issued = await issueDue(context, authority, layout.cluster, places, { again, ...lifetimeMs })
  say(context, { issued }, issued.length === 0 ? 'nothing is due' : `issued: ${issued.join(', ')}`)
  return 0
}

function wrongWords(input: Input): string | undefined {
  const [tier, role, lifetime] = ['tier', 'role', 'lifetime'].map((name) => textOption(input, name))
  if (tier !== undefined && !tierNames.some((name) => name === tier))
    return `${tier} is none of ${tierNames.join(', ')}`
  if (role !== undefined && !personRoles.some((name) => name === role)) {
    return `${role} is none of ${personRoles.join(', ')}`
  }
  if (role !== undefined && (tier !== undefined || input.words.length > 0))
    return '--role is for people, ids are places'
  if (role === undefined && (textOption(input, 'name') ?? textOption(input, 'out')) !== undefined) {
    return '--name and --out go with --role'
  }
  const reading = lifetime === undefined ? undefined : readDuration(lifetime)
  return reading?.ok === false ? `--lifetime: ${reading.message}; ${reading.remedy}` : undefined
}

function lifetimeOf(input: Input): { readonly lifetimeMs?: number } {
  const reading = readDuration(textOption(input, 'lifetime'))
  return reading.ok ? { lifetimeMs: reading.value } : {}
}

async function issuePerson(context: Context, input: Input, authority: Authority, layout: Layout): Promise<ExitCode> {
  const [name, out] = [textOption(input, 'name') ?? '', textOption(input, 'out') ?? '']
  if (!/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/.test(name)) return usage(context, '--name must say who, such as alice')
  if (out === '') return usage(context, '--out must name a directory for the key')
  const role = textOption(input, 'role') as PersonRole
  const { lifetimeMs = personLifetimeMs } = lifetimeOf(input)
  const directory = path.resolve(out)
  await issueToPerson(context, authority, { cluster: layout.cluster, role, name, directory, lifetimeMs })
  say(context, { issued: [name], directory }, `${name} is ${role}: ${directory}/cert.pem, key.pem, ca.pem`)
  return 0
}

/** Trust first, and certificates once everyone has it: so that nobody shows one that another does not know yet. */
async function rotate(context: Context, input: Input): Promise<ExitCode> {
  const wrong = wrongWords(input)
  if (wrong !== undefined) return usage(context, wrong)
  const layout = await layoutOf(context)
  if (typeof layout === 'number') return layout
  const before = requireAuthority(context)
  // Two generations: an earlier rotation was not carried to its end yet.
  const authority = before.generations.length > 1 ? before : await makeGeneration(context, layout.cluster)
  const places = certifiedPlaces(layout)
  const told = await writeTrust(context, authority, places)
  const { number } = newestOf(authority)
  if (input.options['trustOnly'] === true) {
    say(context, { generation: number, issued: [] }, `authority ${number} is trusted; run \`qmq ca rotate\` to issue`)
    return 0
  }
  if (told.length > 0) await settle(context)
  const issued = await issueDue(context, authority, layout.cluster, places, { ofNewest: true, ...lifetimeOf(input) })
  const text = `authority ${number} issued ${issued.join(', ') || 'nothing, all have theirs'}; end with \`qmq ca retire\``
  say(context, { generation: number, issued }, text)
  return 0
}

async function retire(context: Context): Promise<ExitCode> {
  const layout = await layoutOf(context)
  if (typeof layout === 'number') return layout
  const authority = requireAuthority(context)
  const newest = newestOf(authority)
  const holders = certificateHolders(context, authority, layout)
  const old = holders.filter(({ state, generation }) => state === 'in use' && generation !== newest.number)
  if (authority.generations.length > 1 && old.length > 0) {
    const who = old.map(({ who: name }) => name).join(', ')
    context.complain(`nothing is retired: not signed by authority ${newest.number} yet: ${who}; run \`qmq ca rotate\``)
    return 1
  }
  for (const { who, state, generation } of holders) {
    if (state === 'given out' && generation !== newest.number) context.complain(`${who} needs a new certificate`)
  }
  // Whoever still shows an old one has not looked at its files yet.
  if (authority.generations.length > 1) await settle(context)
  const left = await forgetOldGenerations(context.world.disk, authority)
  await writeTrust(context, left, certifiedPlaces(layout))
  say(context, { generation: newest.number }, `only authority ${newest.number} is trusted any more`)
  return 0
}

async function list(context: Context): Promise<ExitCode> {
  const layout = await layoutOf(context)
  if (typeof layout === 'number') return layout
  const authority = requireAuthority(context)
  const holders = certificateHolders(context, authority, layout)
  const now = context.world.clock.now()
  if (context.output === 'json') context.print(JSON.stringify({ certificates: holders }))
  else context.print(holdersTable(context, holders))
  const warnings = holders.flatMap((holder) => soonOver(holder, now) ?? [])
  for (const warning of warnings) context.complain(warning)
  return warnings.length === 0 ? 0 : 3
}

function holdersTable({ output }: Context, holders: readonly CertificateHolder[]): string {
  const wide = output === 'wide'
  const head = ['WHO', 'STATE', 'UNTIL', 'SIGNED BY', 'SERIAL', ...(wide ? ['NAMES'] : [])]
  const shown = holders.filter(({ state }) => wide || state !== 'replaced')
  const rows = shown.map(({ who, state, until, generation, serial, names }) => [
    ...[who, state, until === 0 ? '-' : new Date(until).toISOString().slice(0, 16)],
    ...[generation === 0 ? '-' : String(generation), serial || '-', ...(wide ? [names] : [])],
  ])
  return textTable(head, rows)
}

/** The layout in force, else that of conf-qmq; an exit code where there is neither. */
async function layoutOf(context: Context): Promise<Layout | ExitCode> {
  const inForce = await readLayoutFile(context.world.disk, `${context.state}/${layoutFileName}`)
  if (typeof inForce !== 'string') return inForce
  const file = readConfFile(context.confFile)
  if (file.kind === 'read') return compile(file.conf, 1)
  for (const problem of file.problems) context.complain(problem)
  return 2
}

function requireAuthority({ state }: Context): Authority {
  const authority = readAuthority(state)
  if (authority !== undefined) return authority
  throw new Error(`there is no certificate authority in ${authorityDirectory(state)}: run \`qmq ca init\``)
}

/** Waits only where somebody runs who must look first. */
async function settle(context: Context): Promise<void> {
  if (fs.existsSync(context.state) && homeOwner(context.state) !== undefined) await context.sleep(settleMs)
}

function usage(context: Context, why: string): ExitCode {
  context.complain(why)
  return 2
}

function say(context: Context, answer: object, text: string): void {
  context.print(context.output === 'json' ? JSON.stringify(answer) : text)
}
