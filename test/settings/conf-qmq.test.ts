/** The reader of conf-qmq: the shipped file, every default, and a table of bad files with the line and the words expected. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Conf } from '../../services/settings/conf.ts'
import { type Problem, writeProblem } from '../../services/settings/conf-problem.ts'
import { readConf } from '../../services/settings/conf-qmq.ts'
import { edgeLimitTable, handoffLimitTable, standardLimits } from '../../services/settings/limits.ts'

const shipped = readFileSync(new URL('../../conf-qmq', import.meta.url), 'utf8')

const small = `version: 1
cluster: mail.example.com
edge:
  listen: { smtp: 2525 }
pools:
  INTERNAL: { ids: 00, role: internal, domains: [example.com] }
  BOUNCES: { ids: 90, role: bounce }
`

function confOf(text: string): Conf {
  const reading = readConf(text)
  assert.ok(reading.ok, reading.ok ? '' : reading.problems.map(writeProblem).join('\n'))
  return reading.conf
}

function problemsOf(text: string): readonly Problem[] {
  const reading = readConf(text)
  assert.equal(reading.ok, false, text)
  return reading.ok ? [] : reading.problems
}

test('the shipped file is lawful and needs no privilege', () => {
  const reading = readConf(shipped)
  assert.ok(reading.ok, reading.ok ? '' : reading.problems.map(writeProblem).join('\n'))
  assert.deepEqual(reading.notes, [])
  const { conf } = reading
  assert.deepEqual(
    conf.pools.map(({ name, role, count, ids }) => `${name} ${role} ${count}/${ids.length}`),
    [
      'INTERNAL internal 1/1',
      'CUSTOMER_1 customer 2/9',
      'INTERNET internet 1/1',
      'BOUNCES bounce 1/1',
      'BACKUP backup 1/1',
    ],
  )
  assert.equal(conf.edge.host, '127.0.0.1')
  assert.equal(conf.pools[0]?.slaMs, 60_000)
})

test('what is not written has the documented default', () => {
  const conf = confOf(small)
  assert.deepEqual({ ...conf.edge.limits }, { ...standardLimits(edgeLimitTable) })
  assert.deepEqual({ ...conf.edge.handoff }, { ...standardLimits(handoffLimitTable) })
  assert.deepEqual(conf.edge.relayFrom, [])
  assert.deepEqual(conf.pools[0]?.deliver, { kind: 'maildir' })
  assert.deepEqual(conf.pools[1]?.deliver, { kind: 'mx' })
  assert.equal(conf.pools[0]?.lifetimeMs, 604_800_000)
  assert.equal(conf.basePort, 20_900)
  assert.equal('slaMs' in conf.pools[0]!, false)
})

test('the record is frozen to its leaves', () => {
  const { edge, pools } = confOf(shipped)
  for (const part of [edge, edge.limits, edge.relayFrom, pools, pools[0], pools[0]?.ids, pools[1]?.deliver]) {
    assert.ok(Object.isFrozen(part))
  }
})

test('next hops, networks and limits are read', () => {
  const conf = confOf(
    small
      .replace(
        'role: bounce',
        'role: bounce, next-hops: { a.example: "qmtp:[::1]:209", .b.example: mx }, concurrency: 20',
      )
      .replace(
        '{ smtp: 2525 }',
        '{ smtp: 2525 }\n  limits: { command-timeout: 90s, hops-max: 50, message-bytes-max: 1MiB }',
      ),
  )
  assert.deepEqual(conf.pools[1]?.nextHops, [
    { key: 'a.example', deliver: { kind: 'qmtp', host: '::1', port: 209 } },
    { key: '.b.example', deliver: { kind: 'mx' } },
  ])
  assert.equal(conf.pools[1]?.concurrencyPerDestination, 20)
  assert.equal(conf.edge.limits.commandTimeoutMs, 90_000)
  assert.equal(conf.edge.limits.hopsMax, 50)
  assert.equal(conf.edge.limits.messageBytesMax, 1_048_576)
})

/** A change to the small file, the place of the only problem, and words of it. */
const bad: readonly (readonly [from: string, to: string, at: string, words: RegExp])[] = [
  ['version: 1', 'version: 2', '1:10', /version 2 is not known; write version: 1/],
  ['version: 1\n', '', '1:1', /version: this is missing; add version:/],
  ['cluster: mail.example.com\n', '', '1:1', /cluster: this is missing/],
  ['mail.example.com', 'mail', '2:10', /mail has no domain/],
  ['edge:', 'egde:', '3:1', /egde is not known at the top; did you mean edge\?/],
  ['listen:', 'lisen:', '4:3', /lisen is not known in edge; did you mean listen\?/],
  ['smtp: 2525', 'smpt: 2525', '4:13', /smpt is not known in edge\.listen; did you mean smtp\?/],
  ['smtp: 2525', '', '4:3', /the edge listens nowhere/],
  ['smtp: 2525', 'smtp: 70000', '4:19', /70000 is not between 1 and 65535/],
  ['smtp: 2525', 'smtp: "2525"', '4:19', /2525 is not a whole number.*without quotes/],
  ['smtp: 2525', 'smtp: 20990', '4:19', /port 20990 is also taken by instance 90 of pool BOUNCES/],
  ['smtp: 2525', 'smtp: 2525, smtps: 2525', '4:32', /port 2525 is also taken by the smtp listener/],
  ['2525 }', '2525 }\n  relay-from: [10.0.0.1/8]', '5:16', /bits set behind the first 8; write 10\.0\.0\.0\/8/],
  ['2525 }', '2525 }\n  relay-from: 10.0.0.0/8', '5:15', /this must be a list/],
  ['2525 }', '2525 }\n  relay-from: [10.0.0.0/8]', '5:3', /no running pool of role internet/],
  [
    '2525 }',
    '2525 }\n  rcpthosts: [other.example]',
    '5:15',
    /no pool takes mail for other\.example; add it to the domains/,
  ],
  [
    '2525 }',
    '2525 }\n  limits: { command-timeout: 1440 }',
    '5:30',
    /1440 seconds = 24m; write 24m .* 24h for 1440 minutes/,
  ],
  ['2525 }', '2525 }\n  limits: { message-bytes-max: 10 }', '5:32', /10 has no unit/],
  [
    '2525 }',
    '2525 }\n  limits: { message-bytes-max: 10B }',
    '5:32',
    /outside the bounds of message-bytes-max; write 1KiB to 1GiB/,
  ],
  ['2525 }', '2525 }\n  limits: { message-byte-max: 1MiB }', '5:13', /did you mean message-bytes-max\?/],
  ['2525 }', '2525 }\n  limits: { hops-max: 5m }', '5:23', /5m is not a whole number/],
  ['2525 }', '2525 }\n  limits: [1]', '5:11', /this must be a section/],
  [
    '2525 }',
    '2525 }\n  limits: { command-timeout: 1h, session-timeout: 10m, data-timeout: 1m }',
    '5:30',
    /command-timeout is above session-timeout/,
  ],
  ['2525 }', '2525 }\n  handoff: { reconnect-min: 10s }', '5:29', /reconnect-min is above reconnect-max/],
  ['2525 }', '2525 }\n  host: localhost', '5:9', /localhost is not an IP address/],
  ['2525 }', '2525 }\n  tls: { certificate: a.pem }', '5:3', /tls\.key: this is missing/],
  ['INTERNAL', '9LIVES', '6:3', /not a name for a pool/],
  ['role: internal', 'role: internl', '6:30', /none of internal, .*did you mean internal\?/],
  ['role: internal, ', '', '6:3', /role: this is missing/],
  ['ids: 00', 'ids: 100', '6:20', /100 goes past 99/],
  ['ids: 00', 'ids: 90', '7:19', /90 already belongs to pool INTERNAL; give each pool ids of its own/],
  ['ids: 00', 'ids: 00, count: 2', '6:31', /count 2 is more than the 1 ids/],
  ['ids: 00', 'ids: 00, sla: 900', '6:29', /900 seconds = 15m/],
  ['ids: 00', 'ids: 00, sla: 8d', '6:29', /service level of 8d is longer than the lifetime of 7d/],
  ['ids: 00', 'ids: 00, lifetime: 604800', '6:34', /604800 seconds = 7d; write 7d if that was meant/],
  [
    'ids: 00',
    'ids: 00, concurrency: 5, concurrency-per-destination: 6',
    '6:69',
    /6 for one destination is more than the 5 for all/,
  ],
  ['ids: 00', 'ids: 00, mailboxes: [a@b.example]', '6:36', /b\.example is not among the domains of the pool/],
  ['ids: 00', 'ids: 00, deliver: mx, mailboxes: [a@example.com]', '6:49', /deliver mx has no mailboxes/],
  ['ids: 00', 'ids: 00, mailboxes: [a@example.com, A@example.com]', '6:51', /A@example\.com is written twice/],
  ['ids: 00', 'ids: 00, deliver: pop3', '6:33', /pop3 is not a way to deliver/],
  ['ids: 00', 'ids: 00, deliver: "smtp:127.0.0.1:2525"', '6:33', /mail would go round in circles/],
  ['ids: 00', 'ids: 00, next-hops: { a..b: mx }', '6:37', /a\.\.b is not a mail domain/],
  ['ids: 00', 'ids: 00, accept-from: ["::/0"]', '6:38', /the whole Internet hand mail past the edge/],
  ['ids: 00', 'ids: 00, count: 0', '6:31', /no instance takes the mail of its domains/],
  ['ids: 00', 'ids: 00, colour: red', '6:24', /colour is not known in pools\.INTERNAL; known here: ids, role/],
  ['ids: 00', 'ids: 00, ids: 01', '6:24', /ids is written twice, first on line 6/],
  [
    'role: internal, domains: [example.com]',
    'role: customer, domains: [example.com]',
    '6:3',
    /does not say where its mail goes; add deliver/,
  ],
  [', domains: [example.com]', '', '6:3', /no mail can reach a pool of role internal without domains/],
  ['[example.com]', '[example.com, example.com]', '6:63', /example\.com is written twice/],
  ['[example.com]', '[exa mple.com]', '6:50', /exa mple\.com is not a mail domain/],
  ['[example.com]', '[grüße.example]', '6:50', /xn--/],
  ['role: bounce', 'role: bounce, domains: [b.example]', '7:37', /role bounce has no domains of its own/],
  ['role: bounce', 'role: bounce, count: 0', '7:44', /no instance takes the bounces/],
  ['role: bounce', 'role: backup', '5:1', /no pool of role bounce; add BOUNCES: \{ ids: 90, role: bounce \}/],
  [
    '90, role: bounce }',
    '90, role: bounce }\n  B2: { ids: 91, role: bounce }',
    '8:24',
    /already a pool of role bounce, BOUNCES/,
  ],
  [
    '90, role: bounce }',
    '90, role: bounce }\n  C: { ids: 01, role: customer, deliver: mx, domains: [example.com] }',
    '8:56',
    /example\.com already belongs to pool INTERNAL/,
  ],
]

test('a bad file is refused with its line, its column and a remedy', () => {
  const failures: string[] = []
  for (const [from, to, at, words] of bad) {
    assert.ok(small.includes(from), from)
    const problems = problemsOf(small.replace(from, to))
    const hit = problems.find((problem) => `${problem.line}:${problem.column}` === at)
    const lost = from === 'edge:' || from === 'listen:' || from.startsWith('smtp:')
    const right = hit !== undefined && hit.remedy.length > 5 && words.test(writeProblem(hit))
    if (!right || (!lost && problems.length > 1)) {
      failures.push([`${JSON.stringify(to)} at ${at}, said:`, ...problems.map(writeProblem)].join('\n  '))
    }
  }
  assert.equal(failures.join('\n'), '')
})

test('all problems come at once, in the order of the file', () => {
  const text = small
    .replace('mail.example.com', 'mail')
    .replace('2525', '0')
    .replace('ids: 00', 'ids: x')
    .replace('bounce', 'bonce')
  const problems = problemsOf(text)
  assert.deepEqual(
    problems.map(({ line }) => line),
    [2, 4, 6, 7],
  )
  assert.match(
    writeProblem(problems[2]!),
    /^conf-qmq:6:20: pools\.INTERNAL\.ids: x is not an instance id; write two digits/,
  )
})

test('a fault in one section hides none in another', () => {
  const text = small.replace('2525', '0').replace('ids: 90', 'ids: 00')
  assert.deepEqual(
    problemsOf(text).map(({ line }) => line),
    [4, 7],
  )
})

test('a port below 1024 is lawful and noted', () => {
  const reading = readConf(small.replace('2525', '25'))
  assert.ok(reading.ok)
  assert.deepEqual(
    reading.notes.map((note) => `${note.line} ${note.message}`),
    ['4 port 25 is below 1024'],
  )
})

test('two sockets clash only where their addresses do', () => {
  const apart = small.replace('{ smtp: 2525 }', '{ smtp: 20990 }\n  host: 192.0.2.1')
  assert.ok(readConf(apart).ok)
  assert.match(writeProblem(problemsOf(apart.replace('192.0.2.1', '0.0.0.0'))[0]!), /also taken by instance 90/)
})

test('keys of the language are keys like others', () => {
  for (const key of ['constructor', 'toString', 'hasOwnProperty', '__proto__']) {
    const problems = problemsOf(`${small}${key}: 1\n`)
    assert.equal(problems[0]?.line, 8)
    assert.match(problems[0]!.message, /is not known at the top|cannot be a key/)
  }
  assert.equal(Object.hasOwn(Object.prototype, 'ids'), false)
})

test('files that are not a conf-qmq at all', () => {
  for (const text of [
    '',
    '# only a remark\n',
    '42',
    '[1, 2]',
    'just words',
    'a: b',
    '{}',
    'pools: []',
    'edge: 1\npools: 2',
    '\ufeffversion: 1',
  ]) {
    const problems = problemsOf(text)
    assert.ok(problems.every(({ line, column, message, remedy }) => line > 0 && column > 0 && message && remedy))
  }
})

test('random edits of the shipped file never throw, and what is accepted is whole', () => {
  const edit = fc.record({
    at: fc.nat(shipped.length),
    cut: fc.nat(40),
    put: fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom('[', '{', ': ', '\n', '- ', '&a', '*a', '00', '-1', '~'),
    ),
  })
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let text = shipped
      for (const { at, cut, put } of edits) text = text.slice(0, at) + put + text.slice(at + cut)
      const reading = readConf(text)
      if (!reading.ok) assert.ok(reading.problems.length > 0)
      else assert.ok(reading.conf.pools.some((pool) => pool.role === 'bounce'))
    }),
    { numRuns: 300 },
  )
})
