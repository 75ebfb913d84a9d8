/**
 * A cluster over several hosts: three nats-servers, each on a host of its own, two control processes beside the first two of them, and
 * `qmq up` with the queues and edges on this machine. A host can be cut off from all others and joined again, without anybody being told.
 *
 * The hosts share nothing but the network: each control process has a state directory with its copy of the keys. On this machine their
 * homes are kept locked, so that `qmq up` cannot run them as well; it waits for the locks in vain and carries on. Here is what starts them
 * again when they die.
 */

import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Coordination } from '../../services/contract/coordination.ts'
import { type HomeLock, lockHome } from '../../services/runtime/home-lock.ts'
import { openCoordination } from '../../services/runtime/open-coordination.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { Child } from '../support/child.ts'
import { NatsCluster } from '../support/nats-cluster.ts'
import { NetworkHosts } from '../support/network-hosts.ts'
import { tool } from '../support/tools.ts'

const hostCount = 3
const program = new URL('../../services/control/main.ts', import.meta.url).pathname
const restartMs = 300
const stateWaitMs = 30_000

/** By control process. */
const hostOf: ReadonlyMap<string, number> = new Map([
  ['c1', 1],
  ['c2', 2],
])

export class SplitHosts {
  readonly #directory: string
  readonly #nats: NatsCluster
  readonly #hosts: NetworkHosts
  readonly #leave: () => void
  readonly #locks: HomeLock[] = []
  readonly #children = new Map<string, Child>()
  #working: Promise<unknown>[] = []
  #stopped = false

  private constructor(directory: string, nats: NatsCluster, hosts: NetworkHosts, leave: () => void) {
    this.#directory = directory
    this.#nats = nats
    this.#hosts = hosts
    this.#leave = leave
  }

  /** The servers run; control waits for `join`. `directory` is the run's. */
  static async start(directory: string): Promise<SplitHosts> {
    const cleanups: (() => void | Promise<void>)[] = []
    const hosts = NetworkHosts.make({ after: (task) => cleanups.push(task) }, hostCount)
    const leave = () => {
      for (const cleanup of cleanups) void cleanup()
    }
    process.once('exit', leave)
    const places = Array.from({ length: hostCount }, (_, index) => ({
      starter: hosts.starter(index + 1),
      host: hosts.address(index + 1),
    }))
    const nats = await NatsCluster.prepare(tool('nats-server'), places)
    await nats.start()
    const split = new SplitHosts(directory, nats, hosts, leave)
    for (const id of hostOf.keys()) split.#lock(join(directory, 'state', 'control', id))
    return split
  }

  /** As conf-qmq writes it. */
  get coordination(): string {
    return `"nats://${this.#nats.addresses.join(',')}"`
  }

  get servers(): readonly string[] {
    return this.#nats.addresses
  }

  get controls(): readonly string[] {
    return [...hostOf.keys()]
  }

  stateOf(id: string): string {
    return join(this.#directory, `host-of-${id}`)
  }

  pidOf(id: string): number | undefined {
    const child = this.#children.get(id)
    return child?.running === true ? child.pid : undefined
  }

  /** What this machine sees of the others. */
  async observe(): Promise<Coordination> {
    const spec = { servers: this.servers, credentials: 'nats' }
    const choice = { world: systemWorld(silentLog), state: this.#directory, spec, client: 'operator', near: undefined }
    const { shared } = await openCoordination({ ...choice, makesBuckets: false })
    return shared
  }

  /** Starts control, once `qmq up` has made keys and layout in `state`. */
  async join(state: string): Promise<void> {
    const needed = ['layout.json', 'keys/cluster.key', 'keys/cluster.pub'].map((name) => join(state, name))
    for (let waitedMs = 0; !needed.every((file) => existsSync(file)); waitedMs += restartMs) {
      if (waitedMs > stateWaitMs) throw new Error(`${state} is not made`)
      await sleep(restartMs)
    }
    for (const id of this.controls) {
      const own = this.stateOf(id)
      mkdirSync(own, { recursive: true })
      for (const name of ['layout.json', 'keys']) cpSync(join(state, name), join(own, name), { recursive: true })
    }
    this.#working = this.controls.map((id) => this.#keepRunning(id))
  }

  cut(id: string): void {
    this.#hosts.pull(hostOf.get(id) ?? 0)
  }

  heal(id: string): void {
    this.#hosts.plug(hostOf.get(id) ?? 0)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#children.values()].map((child) => child.stop()))
    await Promise.all(this.#working)
    await this.#nats.remove()
    process.off('exit', this.#leave)
    this.#leave()
    for (const lock of this.#locks) if (lock.kind === 'held') lock.release()
  }

  async #keepRunning(id: string): Promise<void> {
    const [first = '', ...words] = this.#hosts.starter(hostOf.get(id) ?? 0)
    while (!this.#stopped) {
      const own = [process.execPath, '--disable-warning=ExperimentalWarning', program]
      const child = new Child(first, [...words, ...own, 'run', '--state', this.stateOf(id), '--id', id])
      this.#children.set(id, child)
      await child.finished
      await sleep(restartMs)
    }
  }

  #lock(home: string): void {
    mkdirSync(home, { recursive: true })
    const lock = lockHome(home)
    if (lock.kind === 'taken') throw new Error(`${home} is locked by process ${lock.pid}`)
    this.#locks.push(lock)
  }
}
