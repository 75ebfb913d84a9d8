/** Three nats-servers that are one cluster, each with a disk of its own; each can be killed, frozen, wiped and started again. */

import { freePorts } from './free-ports.ts'
import { NatsServer, type NatsServerOptions } from './nats-server.ts'

/** Per server, where there are hosts or disks to choose from. */
export type NatsNodeOptions = Pick<NatsServerOptions, 'starter' | 'host' | 'disk' | 'syncAlways'>

export class NatsCluster {
  readonly servers: readonly NatsServer[]

  private constructor(servers: readonly NatsServer[]) {
    this.servers = servers
  }

  /** `places`: one per server; all on loopback unless given. */
  static async prepare(program: string, places: readonly NatsNodeOptions[] = [{}, {}, {}]): Promise<NatsCluster> {
    const ports = await freePorts(places.length)
    const hosts = places.map(({ host = '127.0.0.1' }) => host)
    const routes = ports.map((port, index) => `"nats://${hosts[index]}:${port}"`).join(', ')
    const prepared = places.map(async (place, index) => {
      const listen = `"${hosts[index]}:${ports[index]}"`
      const lines = [`server_name: "n${index + 1}"`, `cluster { name: "test", listen: ${listen}, routes: [${routes}] }`]
      return await NatsServer.prepare({ ...place, program, configuration: lines.join('\n') })
    })
    return new NatsCluster(await Promise.all(prepared))
  }

  get addresses(): readonly string[] {
    return this.servers.map(({ address }) => address)
  }

  async start(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.start()))
  }

  async kill(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill()))
  }

  wipe(): void {
    for (const server of this.servers) server.wipe()
  }

  async remove(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.remove()))
  }
}
