/**
 * A whole cluster in one simulated world: the real edges and queue instances, each a supervised process on a machine of
 * its own, with DNS, receiving mail systems and a sending client around them.
 */

import type { Layout } from '../../services/contract/layout.ts'
import type { Audit } from '../../services/contract/operations.ts'
import type { Edge } from '../../services/edge/edge.ts'
import type { QueueInstance } from '../../services/queue/instance.ts'
import {
  clientHost,
  clusterLayout,
  exchangeHost,
  internetHost,
  postmaster,
  smtpPort,
  spareInstances,
} from './cluster-layout.ts'
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
  /** Of hand-overs. */
  readonly deafness = { probability: 0 }
  readonly edges: Supervised<Edge>[] = []
  readonly instances: Supervised<QueueInstance>[] = []
  readonly hops: { readonly hop: NextHop; readonly process: Supervised<NextHop> }[] = []
  readonly client: SendingClient
  /** Last audits of instances that have left, by id. */
  readonly retired = new Map<string, Audit>()
  #layout = clusterLayout
  /** The layout each place has, which outlives its process. */
  readonly #kept = new Map<string, Layout>()

  constructor(around: Surroundings, parts: ProcessParts = honestParts) {
    this.around = around
    this.#addDns()
    for (const spec of clusterLayout.instances) this.instances.push(this.#addInstance(spec.id, spec.host, parts))
    for (const spec of spareInstances) {
      const spare = this.#addInstance(spec.id, spec.host, parts)
      spare.isWanted = false
      this.instances.push(spare)
    }
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

  get layout(): Layout {
    return this.#layout
  }

  /** The next layout, in force from now on; each place hears of it in its time. */
  write(layout: Layout): void {
    const takers = ({ instances }: Layout): string =>
      instances.flatMap(({ id, standing }) => (standing === 'active' ? [id] : [])).join()
    if (takers(layout) !== takers(this.#layout)) this.truth.poolChangesMs.push(this.around.time.elapsedMs)
    this.#layout = { ...layout, epoch: this.#layout.epoch + 1 }
  }

  /** Ids of edges and instances that run. */
  placesUp(): string[] {
    return [...this.instances, ...this.edges].filter(({ tier }) => tier !== undefined).map(({ name }) => name)
  }

  epochAt(id: string): number {
    return this.#keptBy(id).epoch
  }

  /** The layout in force reaches a place: it is kept, then acted on. */
  give(id: string): void {
    const place = [...this.instances, ...this.edges].find(({ name }) => name === id)
    if (place?.tier === undefined || !this.#names(id)) return
    this.#kept.set(id, this.#layout)
    place.tier.apply(this.#layout)
  }

  hostOf(id: string): string {
    return this.instances.find(({ name }) => name === id)?.host.name ?? ''
  }

  /** A place the layout in force has and had not before. */
  enlist(id: string): void {
    const instance = this.instances.find(({ name }) => name === id)
    if (instance === undefined) return
    instance.isWanted = true
    this.#kept.set(id, this.#layout)
    instance.start()
  }

  /** A place the layout in force has no more. Its home stays. */
  retire(id: string): void {
    this.instances.find(({ name }) => name === id)?.retire()
  }

  #keptBy(id: string): Layout {
    return this.#kept.get(id) ?? clusterLayout
  }

  #names(id: string): boolean {
    return [...this.#layout.instances, ...this.#layout.edges].some((place) => place.id === id)
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
    const wanted = this.instances.filter(({ isWanted }) => isWanted)
    return wanted.every(({ tier }) => tier !== undefined && tier.load().queued === 0)
  }

  audits(): Audit[] {
    return this.instances.flatMap(({ tier }) => (tier === undefined ? [] : [tier.audit()]))
  }

  ending(isQuiet: boolean): Ending {
    const internal = this.instances[0]
    if (internal !== undefined) this.truth.arrivals.push(...maildirArrivals(internal.host, this.around.time.elapsedMs))
    const gone = this.instances.filter(({ isWanted }) => !isWanted).flatMap(({ name }) => this.retired.get(name) ?? [])
    return { truth: this.truth, audits: [...this.audits(), ...gone], postmaster, isQuiet }
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
      beginQueue(running.world, this.#keptBy(id), id, parts, this, die),
    )
    processes.push(process)
    return process
  }

  #addEdge(id: string, parts: ProcessParts): Supervised<Edge> {
    const host = this.#host(`10.0.1.${id.slice(1)}`, [])
    return new Supervised<Edge>(this.#parts(host, id), (running) =>
      beginEdge(running.world, this.#keptBy(id), id, parts, this.truth),
    )
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
