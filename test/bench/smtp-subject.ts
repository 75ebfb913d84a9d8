/**
 * The servers under comparison, each behind the same face: a port that takes SMTP, a process tree to read usage from.
 *
 * `accept`: mail is made durable and kept (Postfix: its hold queue; qmq: a pool with `deliver: hold`), so that nothing but
 * acceptance is measured. `relay`: everything goes on to one next hop at each server's own default concurrency.
 */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { freePortRange } from '../support/free-ports.ts'
import { Postfix } from '../support/postfix.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import type { Subject } from './measure.ts'

export interface SmtpSubject {
  readonly name: Subject
  readonly port: number
  /** Root of the server's processes. */
  readonly pid: number
  /** Throws away what has been accepted so far, where that is quick. */
  empty(): Promise<void>
  stop(): Promise<void>
}

export type Work = { readonly kind: 'accept' } | { readonly kind: 'relay'; readonly port: number }

export async function startSubject(name: Subject, parent: string, work: Work): Promise<SmtpSubject> {
  const directory = makeTemporaryDirectory(`bench-${name}`, parent)
  const started = name === 'postfix' ? await startPostfix(directory, work) : await startQmq(directory, work)
  return {
    ...started,
    name,
    async stop() {
      await started.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

type Started = Omit<SmtpSubject, 'name'>

async function startPostfix(directory: string, work: Work): Promise<Started> {
  const fate =
    work.kind === 'accept'
      ? { smtpd_client_restrictions: 'check_client_access static:HOLD' }
      : { relayhost: `[127.0.0.1]:${work.port}` }
  const settings = { default_process_limit: '250', ...fate }
  const postfix = await Postfix.start({ directory, port: await freePortRange(1), settings })
  return { port: postfix.port, pid: postfix.pid, empty: () => postfix.empty(), stop: () => postfix.stop() }
}

async function startQmq(directory: string, work: Work): Promise<Started> {
  const ports = await clusterPorts()
  const deliver = work.kind === 'accept' ? 'hold' : `smtp:127.0.0.1:${work.port}`
  const edgeLimits = { 'connections-max': 12_000, 'connections-per-client-max': 12_000 }
  const cluster = new Cluster(join(directory, 'qmq'), clusterConf(ports, { deliver, edgeLimits }))
  await cluster.untilReady()
  return {
    port: ports.smtp,
    pid: cluster.child.pid,
    empty: async () => {},
    stop: async () => {
      await cluster.stop()
    },
  }
}
