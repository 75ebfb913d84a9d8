/**
 * The configuration that `qmq nats config` prints, on real servers: every role against every operation, allowed or refused, and what
 * stands in the store afterwards.
 *
 * A server tells a client of each message and each subscription that it does not let pass, before it answers the next flush: by
 * that each try is known to have been allowed or not.
 */

import assert from 'node:assert/strict'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { natsClients, natsConfiguration } from '../../services/cli/nats-configuration.ts'
import { ensureNatsKeys } from '../../services/cli/nats-keys.ts'
import type { Layout, NatsSpec } from '../../services/contract/layout.ts'
import { compile } from '../../services/control/layout/compile.ts'
import { inboxOf, keySubject } from '../../services/runtime/nats-buckets.ts'
import type { NatsCoordination } from '../../services/runtime/nats-coordination.ts'
import { type LinkAuthentication, makeUserKey, NatsLink } from '../../services/runtime/nats-link.ts'
import { type NatsRole, rightsOf } from '../../services/runtime/nats-rights.ts'
import { openCoordination } from '../../services/runtime/open-coordination.ts'
import type { Conf } from '../../services/settings/conf.ts'
import { confOf, contextIn, type KeptContext } from '../cli/command-context.ts'
import { clusterConf } from '../support/cluster.ts'
import { NatsServer, natsPrograms } from '../support/nats-server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const who = ['e1', '00', 'c1', 'up', 'operator', 'viewer'] as const
type Who = (typeof who)[number]
const roles: Readonly<Record<Who, NatsRole>> = {
  ...{ e1: 'tier', '00': 'tier', c1: 'control', up: 'up', operator: 'operator', viewer: 'viewer' },
}
type Try = (link: NatsLink, me: Who) => void

const publish = (subject: (me: Who) => string, data = '{}', headers = {}): Try => {
  return (link, me) => link.publish(subject(me), Buffer.from(data), headers)
}
const hear = (subject: (me: Who) => string): Try => {
  return (link, me) => {
    link.subscribe(subject(me), () => {})
  }
}
const api =
  (what: string, data = '{}'): Try =>
  (link, me) => {
    link.publish(`qmq.store.${what}`, Buffer.from(data), {}, `${inboxOf(me)}.reply`)
  }

const consumer = JSON.stringify({
  stream_name: 'KV_qmq-records',
  config: { deliver_subject: '$KV.qmq-records.layout', deliver_policy: 'all', ack_policy: 'none' },
})
const mirror = JSON.stringify({
  name: 'mine',
  subjects: ['mine'],
  republish: { src: '>', dest: '$KV.qmq-records.layout' },
})
const tiers: readonly Who[] = ['e1', '00']
const all: readonly Who[] = who
const none: readonly Who[] = []

/** Who may, and the try. */
const operations: readonly (readonly [string, readonly Who[], Try])[] = [
  ['read the layout', all, api('STREAM.MSG.GET.KV_qmq-records', '{"last_by_subj":"$KV.qmq-records.layout"}')],
  ['read a state', all, api('STREAM.MSG.GET.KV_qmq-states', '{"last_by_subj":"$KV.qmq-states.state.00"}')],
  ['read as a replica has it', none, publish(() => '$JS.API.DIRECT.GET.KV_qmq-records.$KV.qmq-records.layout')],
  ['look at a bucket', all, api('STREAM.INFO.KV_qmq-records')],
  ['hear changes', all, hear(() => 'qmq.v1.changed.record.>')],
  ['hear its inbox', all, hear((me) => `${inboxOf(me)}.>`)],
  ['write the layout', ['c1', 'up'], publish(() => '$KV.qmq-records.layout')],
  ['remove the layout', ['c1', 'up'], publish(() => '$KV.qmq-records.layout', '', { 'KV-Operation': 'DEL' })],
  ['wipe by rollup', ['c1'], publish(() => '$KV.qmq-records.plan.x', '', { 'Nats-Rollup': 'all' })],
  ['write a plan', ['c1'], publish(() => '$KV.qmq-records.plan.x')],
  ['write a receipt', ['c1'], publish(() => '$KV.qmq-records.receipt.x')],
  ['ask for shares', ['e1', '00', 'c1', 'operator'], publish(() => 'qmq.v1.shares.ask')],
  ['give shares', ['c1'], hear(() => 'qmq.v1.shares.ask')],
  ['take the lease', ['c1'], publish(() => '$KV.qmq-leases.lease.control')],
  ['write its state', ['e1', '00', 'c1'], publish((me) => `$KV.qmq-states.state.${me}`)],
  ['write the state of another', none, publish((me) => `$KV.qmq-states.state.${me === '00' ? '01' : '00'}`)],
  ['write states by wildcard', none, publish(() => '$KV.qmq-states.state.>')],
  [
    'read leases',
    ['c1', 'operator', 'viewer'],
    api('STREAM.MSG.GET.KV_qmq-leases', '{"last_by_subj":"$KV.qmq-leases.lease.control"}'),
  ],
  ['make a bucket of the cluster', ['c1', 'up'], api('STREAM.CREATE.KV_qmq-records')],
  ['make a stream', none, api('STREAM.CREATE.mine', mirror)],
  ['delete a bucket of the cluster', ['c1', 'up'], api('STREAM.DELETE.KV_qmq-records')],
  ['delete a stream', none, api('STREAM.DELETE.mine')],
  ['purge a bucket', none, api('STREAM.PURGE.KV_qmq-records')],
  ['delete a message', none, api('STREAM.MSG.DELETE.KV_qmq-records', '{"seq":1}')],
  ['make a consumer', none, api('CONSUMER.CREATE.KV_qmq-records', consumer)],
  ['make a named consumer', none, api('CONSUMER.CREATE.KV_qmq-records.mine.$KV.qmq-records.layout', consumer)],
  ['make a durable consumer', none, api('CONSUMER.DURABLE.CREATE.KV_qmq-records.mine', consumer)],
  ['list streams', none, api('STREAM.LIST')],
  ['restore a stream', none, api('STREAM.RESTORE.mine')],
  ['lead the meta group away', none, api('META.LEADER.STEPDOWN')],
  ['pretend a change', none, publish(() => 'qmq.v1.changed.record.layout')],
  ['hear the inbox of another', none, hear(() => `${inboxOf('99')}.>`)],
  ['hear all inboxes', none, hear(() => '_INBOX.qmq.>')],
  ['hear the usual inboxes', none, hear(() => '_INBOX.>')],
  ['hear everything', none, hear(() => '>')],
  ['hear the system', none, hear(() => '$SYS.>')],
  ['hear writes themselves', none, hear(() => '$KV.qmq-records.>')],
  ['answer in its own name', ['e1', '00', 'c1'], hear((me) => `qmq.v1.${me}.audit`)],
  ['answer in the name of another', none, hear(() => 'qmq.v1.99.audit')],
  ['ask how another is', ['c1', 'operator', 'viewer'], publish(() => 'qmq.v1.99.status')],
  ['look into the queue of another', ['c1', 'operator'], publish(() => 'qmq.v1.99.show')],
]

interface Stage {
  readonly server: NatsServer
  readonly context: KeptContext
  readonly spec: NatsSpec
  readonly layout: Layout
}

async function stage(t: TestContext, program: string): Promise<Stage> {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  const prepared = await NatsServer.prepare()
  t.after(() => prepared.remove())
  const ports = { smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }
  const conf: Conf = confOf(clusterConf(ports, { deliver: 'hold', coordination: `nats://${prepared.address}` }))
  const layout = compile(conf, 1)
  const spec = layout.coordination as NatsSpec
  const users = await ensureNatsKeys(context, spec, natsClients(layout))
  const whole = (server: NatsServer) => {
    const parts = { cluster: layout.cluster, spec, users, storeDirectory: `${server.directory}/jetstream` }
    return natsConfiguration({ ...parts, syncAlways: false, tlsDirectory: undefined })
  }
  const server = prepared.with({ whole, program })
  t.after(() => server.remove())
  await server.start()
  return { server, context, spec, layout }
}

function seedOf({ context }: Stage, client: string): Promise<LinkAuthentication> {
  const file = path.join(context.state, 'keys/nats', `${client}.nk`)
  return context.world.disk.readFile(file).then((text) => ({ kind: 'seed', seed: text.toString('utf8').trim() }))
}

async function open(t: TestContext, place: Stage, client: string, makesBuckets = false): Promise<NatsCoordination> {
  const { world, state } = place.context
  const links = await openCoordination({ world, state, spec: place.spec, client, makesBuckets, near: undefined })
  t.after(() => links.close())
  return links.shared as NatsCoordination
}

/** What became of each try, in order. */
async function isAllowed(place: Stage, me: Who, attempts: readonly Try[]): Promise<readonly boolean[]> {
  const problems: string[] = []
  const link = await NatsLink.open({
    ...{ servers: [place.server.address], authentication: await seedOf(place, me), name: me, timeoutMs: 5_000 },
    ...{ inboxPrefix: inboxOf(me), onProblem: (why: string) => problems.push(why) },
  })
  const results: boolean[] = []
  for (const attempt of attempts) {
    attempt(link, me)
    await link.flush()
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    results.push(problems.length === 0)
    for (const why of problems.splice(0)) assert.match(why, /permissions.violation/i)
  }
  await link.close()
  return results
}

/** Asks everything it may ask, and itself where it may answer, and names `keys` as the places for the answers. */
async function sendAnswersElsewhere(place: Stage, me: Who, keys: readonly string[]): Promise<void> {
  const link = await NatsLink.open({
    ...{ servers: [place.server.address], authentication: await seedOf(place, me), name: me, timeoutMs: 5_000 },
    ...{ inboxPrefix: inboxOf(me), onProblem: () => {} },
  })
  let asked = 0
  link.subscribe(`qmq.v1.${me}.status`, ({ reply }) => {
    asked++
    link.publish(reply, Buffer.from('"changed"'))
  })
  const rights = rightsOf(roles[me], me).publish.filter(
    (subject) => !/\.(CREATE|UPDATE|DELETE)\.|>$|layout$/.test(subject),
  )
  const subjects = rights.map((subject) => subject.replace('.v1.*.', '.v1.c1.').replace(/\*$/, 'status'))
  const question = Buffer.from(JSON.stringify({ last_by_subj: keySubject('state/e1') }))
  for (const subject of subjects) for (const key of keys) link.publish(subject, question, {}, keySubject(key))
  await link.flush()
  await new Promise((resolve) => setTimeout(resolve, 200))
  await link.close()
  if (roles[me] === 'tier') assert.equal(asked, keys.length)
}

for (const { name, path: program } of natsPrograms()) {
  describe(`rights on ${name}`, () => {
    it('every role against every operation', async (t) => {
      const place = await stage(t, program)
      const control = await open(t, place, 'c1', true)
      for (const key of ['state/99', 'state/01', 'lease/x'])
        assert.equal((await control.put(key, 1)).kind === 'written', key === 'lease/x', key)
      for (const me of who) {
        const results = await isAllowed(
          place,
          me,
          operations.map(([, , attempt]) => attempt),
        )
        const wrong = operations.flatMap(([what, allowed], index) => {
          const wanted = allowed.includes(me)
          return results[index] === wanted ? [] : [`${what}: ${wanted ? 'refused' : 'allowed'}`]
        })
        assert.deepEqual(wrong, [], me)
      }
      assert.deepEqual(
        (await control.list('state/')).map(({ key }) => key),
        tiers
          .concat('c1')
          .map((id) => `state/${id}`)
          .toSorted(),
      )
    })

    it('no key of another changes by having an answer sent to it', async (t) => {
      const place = await stage(t, program)
      const control = await open(t, place, 'c1', true)
      const keys = ['layout', 'lease/control', 'state/c1']
      for (const key of keys) assert.equal((await control.put(key, 'as it was')).kind, 'written', key)
      let served = 0
      for (const subject of ['qmq.v1.c1.status', 'qmq.v1.shares.ask']) {
        control.serve(subject, async () => `answer ${++served}`)
      }
      assert.ok((await control.now()) > 0)
      for (const me of who) if (me !== 'c1') await sendAnswersElsewhere(place, me, [...keys, 'state/01'])
      const entries = await control.list('')
      const found = entries.filter(({ key }) => !/^(clock\/.*|state\/(e1|00))$/.test(key))
      assert.deepEqual(
        found.map(({ key, value }) => [key, value]),
        keys.toSorted().map((key) => [key, 'as it was']),
      )
      assert.equal(served, 0)
    })

    it('nobody comes in without a key, with an unknown one, or with that of another', async (t) => {
      const place = await stage(t, program)
      const stranger: LinkAuthentication = { kind: 'seed', seed: makeUserKey().seed }
      const word: LinkAuthentication = { kind: 'password', user: 'c1', password: '' }
      for (const authentication of [{ kind: 'none' } as const, stranger, word]) {
        const opening = NatsLink.open({
          ...{ servers: [place.server.address], authentication, name: 'x', timeoutMs: 5_000 },
          ...{ inboxPrefix: inboxOf('c1'), onProblem: () => {} },
        })
        await assert.rejects(opening, /authorization/i, authentication.kind)
      }
    })

    it('each client does its work with its own key: records, states, watches, questions and long answers', async (t) => {
      const place = await stage(t, program)
      const up = await open(t, place, 'up', true)
      assert.equal((await up.create('layout', { epoch: 1 })).kind, 'written')
      const [control, tier] = [await open(t, place, 'c1', true), await open(t, place, '00')]
      const [operator, viewer] = [await open(t, place, 'operator'), await open(t, place, 'viewer')]
      assert.equal((await control.create('lease/control', 'c1')).kind, 'written')
      const seen: unknown[] = []
      tier.watch('layout', ({ entry }) => seen.push(entry?.value))
      const long = Array.from({ length: 300_000 }, (_, index) => `line ${index}`)
      tier.serve('qmq.v1.00.list', async () => long)
      tier.serve('qmq.v1.00.status', async () => 'well')
      assert.equal((await tier.put('state/00', 1)).kind, 'written')
      assert.equal(
        (await control.update('layout', { epoch: 2 }, (await control.get('layout'))?.revision ?? 0)).kind,
        'written',
      )
      assert.deepEqual(await operator.request('qmq.v1.00.list', {}, 10_000), { kind: 'reply', value: long })
      assert.deepEqual(await viewer.request('qmq.v1.00.status', {}, 10_000), { kind: 'reply', value: 'well' })
      assert.deepEqual(await operator.request('qmq.v1.01.list', {}, 10_000), { kind: 'no-responder' })
      assert.deepEqual(
        (await viewer.list('state/')).map(({ value }) => value),
        [1],
      )
      assert.deepEqual((await operator.get('lease/control'))?.value, 'c1')
      assert.ok((await operator.now()) > 0)
      for (let tries = 0; seen.length === 0 || (seen.at(-1) as { epoch: number }).epoch !== 2; tries++) {
        assert.ok(tries < 1_000)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    })
  })
}
