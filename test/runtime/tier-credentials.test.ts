/** Credentials of a tier: what is taken into force, what is not, and that bad files never replace good ones. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { tierIdentity } from '../../services/contract/identity.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { credentialsPollMs, TierCredentials } from '../../services/runtime/tier-credentials.ts'
import type { Log, Timer } from '../../services/runtime/world.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { dayMs, TestAuthority, writeCredentials } from '../support/test-authority.ts'

const uri = 'qmq://mail.example.com/tier/queue/01'

interface Held {
  readonly authority: TestAuthority
  readonly directory: string
  readonly credentials: TierCredentials
  readonly logged: string[]
  /** Lets time pass, and whatever was waiting for it run. */
  later(delayMs: number): void
}

async function held(test: TestContext): Promise<Held> {
  const authority = await TestAuthority.make(test)
  const directory = temporaryDirectory(test, 'credentials')
  const logged: string[] = []
  const note = (event: string, fields?: object) => void logged.push(`${event} ${Object.values(fields ?? {})[0]}`)
  const log: Log = { debug() {}, info: note, warn: note, error: note }
  const real = systemWorld(log)
  let now = Date.now()
  let waiting: { readonly at: number; readonly task: () => void }[] = []
  const after = (delayMs: number, task: () => void): Timer => {
    waiting.push({ at: now + delayMs, task })
    return { cancel: () => {} }
  }
  const clock = { ...real.clock, now: () => now, after }
  const identity = tierIdentity('mail.example.com', 'queue', '01')
  const credentials = new TierCredentials({ clock, disk: real.disk, log }, directory, identity)
  const later = (delayMs: number) => {
    now += delayMs
    const due = waiting.filter(({ at }) => at <= now)
    waiting = waiting.filter(({ at }) => at > now)
    for (const { task } of due) task()
  }
  return { authority, directory, credentials, logged, later }
}

function whyNot(credentials: TierCredentials): string {
  const usable = credentials.usable()
  return usable.kind === 'usable' ? 'usable' : usable.why
}

test('each reason not to use them is told, with the file', async (t) => {
  const { authority, directory, credentials, logged } = await held(t)
  const other = await TestAuthority.make(t, 2)
  await credentials.reload()
  assert.match(whyNot(credentials), /no such file.*ca\.pem/)
  const good = await authority.issue([uri])
  const cases: readonly [RegExp, () => Promise<void>][] = [
    [
      /is of qmq:\/\/mail.example.com\/tier\/queue\/02, this is .*\/01/,
      async () => writeCredentials(directory, authority.certificate, await authority.issue([uri.replace('01', '02')])),
    ],
    [
      /signed by none of the authorities/,
      async () => writeCredentials(directory, authority.certificate, await other.issue([uri])),
    ],
    [
      /has expired at/,
      async () => {
        const expired = { startsAt: Date.now() - 2 * dayMs, endsAt: Date.now() - dayMs }
        writeCredentials(directory, authority.certificate, await authority.issue([uri], expired))
      },
    ],
    [
      /is not valid before/,
      async () => {
        const early = { startsAt: Date.now() + dayMs, endsAt: Date.now() + 2 * dayMs }
        writeCredentials(directory, authority.certificate, await authority.issue([uri], early))
      },
    ],
    [
      /cert.pem and key.pem are of no use/,
      async () => {
        const { key } = await authority.issue([uri])
        writeCredentials(directory, authority.certificate, { certificate: good.certificate, key })
      },
    ],
    [/ca.pem has no certificate/, async () => writeCredentials(directory, Buffer.alloc(0), good)],
  ]
  for (const [why, arrange] of cases) {
    await arrange()
    await credentials.reload()
    assert.match(whyNot(credentials), why)
    assert.ok(whyNot(credentials).includes(directory), 'names the file')
  }
  assert.equal(logged.length, cases.length + 1, 'each is logged once')
  await credentials.reload()
  assert.equal(logged.length, cases.length + 1)
  writeCredentials(directory, authority.certificate, good)
  await credentials.reload()
  assert.equal(whyNot(credentials), 'usable')
})

test('files that cannot be used never replace those in force', async (t) => {
  const { authority, directory, credentials, logged } = await held(t)
  const first = await authority.issue([uri])
  writeCredentials(directory, authority.certificate, first)
  let changes = 0
  credentials.onChange(() => changes++)
  await credentials.reload()
  await credentials.reload()
  assert.equal(changes, 1, 'the same files are no news')
  const key = path.join(directory, 'key.pem')
  const inForce = () => {
    const usable = credentials.usable()
    return usable.kind === 'usable' ? usable.credentials.certificate : undefined
  }
  const spoil: readonly (() => void)[] = [
    () => fs.rmSync(key),
    () => fs.mkdirSync(key),
    () => {
      fs.rmdirSync(key)
      fs.writeFileSync(key, 'nonsense')
    },
  ]
  for (const [index, damage] of spoil.entries()) {
    damage()
    await credentials.reload()
    assert.deepEqual(inForce(), first.certificate)
    assert.match(logged.at(-1) ?? '', /^certificate not replaced, the one in force stays /)
    assert.equal(logged.length, index + 2)
  }
  const second = await authority.issue([uri])
  writeCredentials(directory, authority.certificate, second)
  await credentials.reload()
  assert.deepEqual(inForce(), second.certificate)
  assert.equal(changes, 2)
})

test('files are looked at again by the clock, and an expired certificate is of no use any more', async (t) => {
  const { authority, directory, credentials, later } = await held(t)
  await credentials.watch()
  assert.notEqual(whyNot(credentials), 'usable')
  const changed = new Promise<void>((resolve) => credentials.onChange(resolve))
  writeCredentials(directory, authority.certificate, await authority.issue([uri]))
  later(credentialsPollMs)
  await changed
  assert.equal(whyNot(credentials), 'usable')
  later(2 * dayMs)
  assert.match(whyNot(credentials), /cert.pem has expired at/)
  credentials.close()
})
