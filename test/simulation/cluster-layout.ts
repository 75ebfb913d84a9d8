/**
 * The layout that simulated clusters run: two edges, two customer instances, and one each of the other roles, every one
 * on a machine of its own. Limits are small, so that short runs reach them.
 */

import type { EdgeSpec, InstanceSpec, Layout, PoolSpec, Role } from '../../services/contract/layout.ts'
import { edgeLimitTable, handoffLimitTable, poolLimitTable, standardLimits } from '../../services/settings/limits.ts'

/** Outside machines have addresses that count as public: mail exchangers with others are refused. */
export const exchangeHost = '10.0.3.25'
export const internetHost = '9.0.0.25'
export const clientHost = '9.0.0.7'
export const postmaster = 'postmaster@example.com'
export const smtpPort = 2525

const edge = (number: number): EdgeSpec => ({
  id: `e${number}`,
  home: `edges/e${number}`,
  listeners: [{ kind: 'smtp', host: `10.0.1.${number}`, port: smtpPort }],
  relayFrom: [`${clientHost}/32`],
  rcpthosts: ['example.com', 'customer1.example'],
  limits: { ...standardLimits(edgeLimitTable) },
  handoff: {
    ...standardLimits(handoffLimitTable),
    replyTimeoutMs: 20_000,
    unclearRetryMs: 40_000,
    windowPackages: 4,
  },
})

const pool = (name: string, role: Role, given: Partial<PoolSpec>): PoolSpec => ({
  ...standardLimits(poolLimitTable),
  name,
  role,
  ids: [],
  domains: [],
  deliver: { kind: 'mx' },
  mailboxes: [],
  nextHops: [],
  bounceFormat: 'qsbmf',
  doubleBounceTo: postmaster,
  ...given,
})

const instance = (number: number, poolName: string, role: Role): InstanceSpec => {
  const id = String(number).padStart(2, '0')
  return {
    id,
    number,
    pool: poolName,
    role,
    host: `10.0.2.${number + 1}`,
    port: 12_000 + number,
    handoverPort: 13_000 + number,
    standing: 'active',
    home: `queues/${id}`,
    acceptFrom: ['10.0.0.0/8'],
  }
}

/** Places that are not in the layout at first: a pool that grows takes them. */
export const spareInstances: readonly InstanceSpec[] = [
  instance(3, 'CUSTOMER_1', 'customer'),
  instance(81, 'INTERNET', 'internet'),
  instance(91, 'BOUNCES', 'bounce'),
]

export const clusterLayout: Layout = {
  version: 2,
  epoch: 1,
  fence: 0,
  control: [],
  scaled: [],
  plans: [],
  cluster: 'mail.example.com',
  edges: [edge(1), edge(2)],
  pools: [
    pool('INTERNAL', 'internal', {
      domains: ['example.com'],
      deliver: { kind: 'maildir' },
      mailboxes: ['ok@example.com', 'sender@example.com', postmaster],
    }),
    pool('CUSTOMER_1', 'customer', {
      domains: ['customer1.example'],
      deliver: { kind: 'smtp', host: 'exchange.customer1.example', port: 25 },
      bounceFormat: 'dsn',
    }),
    pool('INTERNET', 'internet', {}),
    pool('BOUNCES', 'bounce', {}),
    pool('BACKUP', 'backup', {}),
  ],
  instances: [
    instance(0, 'INTERNAL', 'internal'),
    instance(1, 'CUSTOMER_1', 'customer'),
    instance(2, 'CUSTOMER_1', 'customer'),
    instance(80, 'INTERNET', 'internet'),
    instance(90, 'BOUNCES', 'bounce'),
    instance(99, 'BACKUP', 'backup'),
  ],
  routes: [
    { key: 'example.com', pool: 'INTERNAL' },
    { key: 'customer1.example', pool: 'CUSTOMER_1' },
    { key: '', pool: 'INTERNET' },
    { key: '!@', pool: 'BOUNCES' },
  ],
}
