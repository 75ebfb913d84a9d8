/**
 * A whole cluster in one simulated world: the real edges and queue instances, each a supervised process on a machine of
 * its own, with DNS, receiving mail systems and a sending client around them.
 */

import type { Audit } from '../../services/contract/operations.ts'
import type { Edge } from '../../services/edge/edge.ts'
import type { QueueInstance } from '../../services/queue/instance.ts'
import { clientHost, clusterLayout, exchangeHost, internetHost, postmaster, smtpPort } from './cluster-layout.ts'
import { maildirArrivals } from './maildir-arrivals.ts'
import { NextHop } from './next-hop.ts'
import type { Ending } from './oracle.ts'
import { honestParts, type ProcessParts } from './process-parts.ts'
import { SendingClient } from './sending-client.ts'
import { SimulatedHost, type Surroundings } from './simulated-host.ts'
import { Supervised } from './supervised.ts'
import { beginEdge, beginQueue, stateDirectory } from './tier-processes.ts'
import { type Crash, Truth } from './truth.ts'

export class Cluster {
  readonly around: Surroundings
  readonly truth = new Truth()
  readonly edges: Supervised<Edge>[] = []
  readonly instances: Supervised<QueueInstance>[] = []
  readonly hops: { readonly hop: NextHop; readonly process: Supervised<NextHop> }[] = []
  readonly client: SendingClient
  #epoch = clusterLayout.epoch

  constructor(around: Surroundings, parts: ProcessParts = honestParts) {
    this.around = around
    this.#addDns()
    for (const spec of clusterLayout.instances) this.instances.push(this.#addInstance(spec.id, spec.host, parts))
    for (const spec of clusterLayout.edges) this.edges.push(this.#addEdge(spec.id, parts))
    this.#addHop('exchange', exchangeHost, ['exchange.customer1.example'])
    this.#addHop('internet', internetHost, ['mx.elsewhere.example'])
    const client = this.#host(clientHost, []).start('client')
    const servers = clusterLayout.edges.map(({ listeners }) => ({ host: listeners[0]?.host ?? '', port: smtpPort }))
    this.client = new SendingClient(client.world, around.time, around.random.fork('client'), servers)
  }

  start(): void {
    for (const process of [...this.instances, ...this.edges]) process.start()
    for (const { process } of this.hops) process.start()
  }

  nextEpoch(): number {
    return ++this.#epoch
  }

  /** The machines that faults may come between. */
  hostNames(): string[] {
    return [...this.instances, ...this.edges].map(({ host }) => host.name).concat(exchangeHost, internetHost)
  }

  crashed(host: string, kind: Crash['kind']): void {
    this.truth.crashes.push({ atMs: this.around.time.elapsedMs, host, kind })
  }

  /** Every instance is up and has nothing left to do, and every letter has its answer. */
  isQuiet(): boolean {
    if (this.client.unfinished > 0) return false
    return this.instances.every(({ tier }) => tier !== undefined && tier.load().queued === 0)
  }

  audits(): Audit[] {
    return this.instances.flatMap(({ tier }) => (tier === undefined ? [] : [tier.audit()]))
  }

  ending(isQuiet: boolean): Ending {
    const internal = this.instances[0]
    if (internal !== undefined) this.truth.arrivals.push(...maildirArrivals(internal.host, this.around.time.elapsedMs))
    return { truth: this.truth, audits: this.audits(), postmaster, isQuiet }
  }

  #addDns(): void {
    const { dns } = this.around
    dns.addresses.set('exchange.customer1.example', [exchangeHost])
    dns.addresses.set('mx.elsewhere.example', [internetHost])
    dns.exchangers.set('elsewhere.example', [{ preference: 10, name: 'mx.elsewhere.example' }])
  }

  #host(name: string, names: readonly string[], processes: readonly Supervised<unknown>[] = []): SimulatedHost {
    return new SimulatedHost(this.around, name, names, (host) => {
      this.crashed(host.name, 'power')
      for (const process of processes) process.lostPower()
      this.around.time.schedule(this.around.random.between(500, 20_000), () => {
        host.powerOn()
        for (const process of processes) process.start()
      })
    })
  }

  #addInstance(id: string, address: string, parts: ProcessParts): Supervised<QueueInstance> {
    const processes: Supervised<QueueInstance>[] = []
    const host = this.#host(address, [], processes)
    const { volume } = host.device
    volume.makeDirectory(`${stateDirectory}/queues/${id}`)
    if (id === '00') {
      for (const local of ['ok', 'sender', 'postmaster']) {
        for (const part of ['tmp', 'new', 'cur']) {
          volume.makeDirectory(`${stateDirectory}/mailboxes/example.com/${local}/${part}`)
        }
      }
    }
    volume.syncAll()
    const process = new Supervised<QueueInstance>(this.#parts(host, id), (running, die) =>
      beginQueue(running.world, id, parts, this.truth, die),
    )
    processes.push(process)
    return process
  }

  #addEdge(id: string, parts: ProcessParts): Supervised<Edge> {
    const host = this.#host(`10.0.1.${id.slice(1)}`, [])
    return new Supervised<Edge>(this.#parts(host, id), (running) => beginEdge(running.world, id, parts, this.truth))
  }

  #addHop(name: string, address: string, names: readonly string[]): void {
    const hop = new NextHop(name, this.truth, this.around.time)
    const host = this.#host(address, names)
    const process = new Supervised<NextHop>(this.#parts(host, name), async (running) => {
      await hop.listen(running.world)
      return hop
    })
    this.hops.push({ hop, process })
  }

  #parts(host: SimulatedHost, name: string): ConstructorParameters<typeof Supervised>[0] {
    return {
      time: this.around.time,
      random: this.around.random.fork(`supervisor of ${name}`),
      host,
      name,
      onDeath: () => this.crashed(host.name, 'kill'),
    }
  }
}
