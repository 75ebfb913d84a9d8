import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Attempt, Outcome } from '../../services/contract/delivery.ts'
import { mailboxNames } from '../../services/mailbox/mailbox-name.ts'
import { MaildirTransport, makeMailbox } from '../../services/mailbox/maildir-transport.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { Disk, DiskFile, World } from '../../services/runtime/world.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const world = systemWorld({ debug() {}, info() {}, warn() {}, error() {} })

function attemptFor(recipients: readonly string[], text: string, changes: Partial<Attempt> = {}): Attempt {
  const bytes = Buffer.from(text, 'latin1')
  return {
    id: '01JDB0000000000000000000AA',
    sender: 'bob@test.example',
    recipients,
    body: { form: 'crlf', bytes: bytes.length, slice: (at, length) => bytes.subarray(at, at + length) },
    destination: { key: 'maildir', kind: 'maildir' },
    birthAt: 0,
    ...changes,
  }
}

async function deliver(root: string, attempt: Attempt, through: World = world): Promise<string[]> {
  const transport = new MaildirTransport(through, { root, hostName: 'q/0:0.example' })
  const outcomes = await new Promise<readonly Outcome[]>((resolve) => transport.attempt(attempt, resolve))
  return outcomes.map((outcome) =>
    outcome.kind === 'delivered' ? `ok ${outcome.to}` : `${outcome.failure.class} ${outcome.failure.enhanced}`,
  )
}

async function rootWith(test: Cleanup, ...addresses: string[]): Promise<string> {
  const root = join(temporaryDirectory(test), 'mailboxes')
  for (const address of addresses) await makeMailbox(world.disk, root, address)
  return root
}

function mailIn(root: string, mailbox: string): string[] {
  const directory = join(root, mailbox, 'new')
  return readdirSync(directory).map((name) => readFileSync(join(directory, name), 'latin1'))
}

/** The system's disk with some calls replaced. */
function worldWith(changes: Partial<Disk>): World {
  const disk = world.disk
  const proxy = new Proxy(disk, {
    get: (target, name) => changes[name as keyof Disk] ?? (target[name as keyof Disk] as () => unknown).bind(target),
  })
  return { ...world, disk: proxy }
}

function wrapped(file: DiskFile): DiskFile {
  return {
    write: (chunks, at) => file.write(chunks, at),
    read: (buffer, at) => file.read(buffer, at),
    datasync: () => file.datasync(),
    writeDurably: (chunks, at) => file.writeDurably(chunks, at),
    truncate: (bytes) => file.truncate(bytes),
    size: () => file.size(),
    close: () => file.close(),
  }
}

describe('Maildir transport', () => {
  it('writes Return-Path, Delivered-To and the message with LF line ends', async (test) => {
    const root = await rootWith(test, 'bob@in.example')
    const attempt = attemptFor(['Bob@In.Example'], 'Subject: x\r\n\r\n.hi\r\nend')
    assert.deepEqual(await deliver(root, attempt), ['ok maildir in.example/bob'])
    assert.deepEqual(mailIn(root, 'in.example/bob'), [
      'Return-Path: <bob@test.example>\nDelivered-To: Bob@In.Example\nSubject: x\n\n.hi\nend\n',
    ])
    assert.deepEqual(readdirSync(join(root, 'in.example/bob/tmp')), [])
    const [name = ''] = readdirSync(join(root, 'in.example/bob/new'))
    assert.match(name, /^[0-9]+\.R[0-9a-f]{16}Q1\.q_0_0\.example$/)
  })

  it('quotes the sender as qmail does, and an empty one', async (test) => {
    const root = await rootWith(test, 'bob@in.example')
    await deliver(root, attemptFor(['bob@in.example'], '', { sender: 'a b%c\u00ffd@test.example' }))
    await deliver(root, attemptFor(['bob@in.example'], '', { sender: '' }))
    await deliver(root, attemptFor(['bob@in.example'], '', { sender: 'a\nDelivered-To: x@y' }))
    const heads = mailIn(root, 'in.example/bob').map((text) => text.split('\n')[0])
    assert.deepEqual(heads.sort(), [
      'Return-Path: <"a b%c\u00ffd"@test.example>',
      'Return-Path: <"a_Delivered-To: x"@y>',
      'Return-Path: <>',
    ])
  })

  it('answers each recipient apart: extension, missing, hostile', async (test) => {
    const root = await rootWith(test, 'bob@in.example', 'list-all@in.example')
    const recipients = ['bob-news@in.example', 'list-all@in.example', 'list@in.example', '../bob@in.example']
    assert.deepEqual(await deliver(root, attemptFor(recipients, 'x\r\n')), [
      'ok maildir in.example/bob',
      'ok maildir in.example/list-all',
      'permanent 5.1.1',
      'permanent 5.1.3',
    ])
  })

  it('bounces nothing for a mailbox that is there and is no Maildir, nor gives it to another', async (test) => {
    const root = await rootWith(test, 'bob@in.example', 'bob-list@in.example')
    rmSync(join(root, 'in.example/bob-list/new'), { recursive: true })
    assert.deepEqual(await deliver(root, attemptFor(['bob-list@in.example'], 'x\r\n')), ['temporary 4.3.5'])
    assert.deepEqual(readdirSync(join(root, 'in.example/bob-list/tmp')), [])
    rmSync(join(root, 'in.example/bob-list'), { recursive: true })
    mkdirSync(join(root, 'in.example/bob-list'))
    assert.deepEqual(await deliver(root, attemptFor(['bob-list@in.example'], 'x\r\n')), ['temporary 4.3.5'])
    writeFileSync(join(root, 'in.example/file'), '')
    assert.deepEqual(await deliver(root, attemptFor(['file@in.example'], 'x\r\n')), ['temporary 4.3.5'])
    assert.deepEqual(mailIn(root, 'in.example/bob'), [])
  })

  it('bounces nothing for a domain whose directory is missing, empty or none', async (test) => {
    const root = await rootWith(test, 'bob@in.example')
    assert.deepEqual(await deliver(root, attemptFor(['bob@else.example'], 'x\r\n')), ['temporary 4.3.5'])
    mkdirSync(join(root, 'else.example'))
    assert.deepEqual(await deliver(root, attemptFor(['bob@else.example'], 'x\r\n')), ['temporary 4.3.5'])
    writeFileSync(join(root, 'file.example'), '')
    assert.deepEqual(await deliver(root, attemptFor(['bob@file.example'], 'x\r\n')), ['temporary 4.3.5'])
    await makeMailbox(world.disk, root, 'carol@else.example')
    assert.deepEqual(await deliver(root, attemptFor(['bob@else.example'], 'x\r\n')), ['permanent 5.1.1'])
  })

  it('bounces nothing for a root that is missing or empty', async (test) => {
    const root = join(temporaryDirectory(test), 'mailboxes')
    assert.deepEqual(await deliver(root, attemptFor(['bob@in.example'], 'x\r\n')), ['temporary 4.3.5'])
    mkdirSync(root)
    assert.deepEqual(await deliver(root, attemptFor(['bob@in.example'], 'x\r\n')), ['temporary 4.3.5'])
  })

  it('sees that a message has been here before, in the header only', async (test) => {
    const root = await rootWith(test, 'bob@in.example')
    const looping = 'Subject: x\r\nDelivered-To: bob@in.example\r\n\r\nhi\r\n'
    assert.deepEqual(await deliver(root, attemptFor(['bob@in.example'], looping)), ['permanent 5.4.6'])
    const quoting = 'Subject: x\r\n\r\nDelivered-To: bob@in.example\r\n'
    assert.deepEqual(await deliver(root, attemptFor(['bob@in.example'], quoting)), ['ok maildir in.example/bob'])
  })

  it('tells success only after file and directory are durable', async (test) => {
    const root = await rootWith(test, 'bob@in.example')
    const calls: string[] = []
    const through = worldWith({
      open: async (path, mode) => {
        const file = await world.disk.open(path, mode)
        calls.push(`open ${mode}`)
        return { ...wrapped(file), datasync: () => file.datasync().then(() => void calls.push('datasync')) }
      },
      rename: (from, to) => world.disk.rename(from, to).then(() => void calls.push('rename')),
      syncDirectory: (path) => world.disk.syncDirectory(path).then(() => void calls.push(`sync ${path.slice(-4)}`)),
    })
    await deliver(root, attemptFor(['bob@in.example'], 'x\r\n'), through)
    assert.deepEqual(calls, ['open create', 'datasync', 'rename', 'sync /new'])
  })

  const faults: readonly (readonly [what: string, code: string, expected: string])[] = [
    ['datasync', 'ENOSPC', 'temporary 4.2.2'],
    ['write', 'EDQUOT', 'temporary 4.2.2'],
    ['write', 'EIO', 'temporary 4.3.0'],
    ['datasync', 'EIO', 'temporary 4.3.0'],
  ]
  for (const [what, code, expected] of faults) {
    it(`${code} of ${what} is temporary and leaves nothing behind`, async (test) => {
      const root = await rootWith(test, 'bob@in.example')
      const through = worldWith({
        open: async (path, mode) => {
          const file = await world.disk.open(path, mode)
          const fail = () => Promise.reject(Object.assign(new Error(code), { code }))
          return { ...wrapped(file), [what]: fail }
        },
      })
      assert.deepEqual(await deliver(root, attemptFor(['bob@in.example'], 'x\r\n'), through), [expected])
      assert.deepEqual(readdirSync(join(root, 'in.example/bob/tmp')), [])
      assert.deepEqual(readdirSync(join(root, 'in.example/bob/new')), [])
    })
  }

  it('does not take a stored message that is gone for a missing mailbox', async (test) => {
    const root = await rootWith(test, 'bob@in.example')
    const gone = () => Promise.reject(Object.assign(new Error('gone'), { code: 'ENOENT' }))
    let reads = 0
    const start = Buffer.from('Subject: x\r\n')
    const bodies = [gone, (_: number, length: number) => (reads++ === 0 ? start.subarray(0, length) : gone())]
    for (const slice of bodies) {
      const attempt = attemptFor(['bob@in.example'], '', { body: { form: 'crlf', bytes: 12, slice } })
      assert.deepEqual(await deliver(root, attempt), ['temporary 4.3.0'])
    }
    assert.deepEqual(readdirSync(join(root, 'in.example/bob/tmp')), [])
  })
})

describe('mailbox names', () => {
  const refused = [
    'bob',
    '@in.example',
    'bob@',
    '../x@in.example',
    '..@in.example',
    '.@in.example',
    '.hidden@in.example',
    'bob@..',
    'bob@.in.example',
    'a/b@in.example',
    '/etc/passwd@in.example',
    'bob@in.example/../../etc',
    'bob@/',
    'bo\0b@in.example',
    'bo\nb@in.example',
    'bob@in\r\n.example',
    `${'x'.repeat(201)}@in.example`,
    `bob@${'x'.repeat(201)}`,
    'b\u00ff\u00feb@in.example',
    '\u00c0\u00ae\u00c0\u00ae/x@in.example',
    '\u00c0\u00af@in.example',
  ]
  for (const address of refused) {
    it(`${JSON.stringify(address)} has none`, async (test) => {
      const names = mailboxNames(address)
      assert.equal(names.kind === 'refused' && names.failure.enhanced, '5.1.3')
      const parent = temporaryDirectory(test)
      await assert.rejects(makeMailbox(world.disk, join(parent, 'mailboxes'), address))
      assert.equal(existsSync(join(parent, 'mailboxes')), false)
    })
  }

  const named: readonly (readonly [string, readonly string[]])[] = [
    ['Bob@In.Example', ['in.example/bob']],
    ['a..b@in.example', ['in.example/a..b']],
    ['a@b@in.example', ['in.example/a@b']],
    ['user-ext-more@in.example', ['in.example/user-ext-more', 'in.example/user']],
    ['-odd@in.example', ['in.example/-odd']],
    ['b\u00c3\u00bcro@in.example', ['in.example/b\u00fcro']],
    ['c:\\x@in.example', ['in.example/c:\\x']],
  ]
  for (const [address, directories] of named) {
    it(`${JSON.stringify(address)} is ${directories.join(', ')}`, () => {
      assert.deepEqual(mailboxNames(address), { kind: 'names', directories })
    })
  }
})
