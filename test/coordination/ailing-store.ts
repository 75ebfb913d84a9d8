/**
 * What answers in the place of JetStream on a real nats-server without it, bucket by bucket: asked how one is, it can say that none of its
 * servers leads it, as they do for good after some power cuts of them all, or that one of them lags behind. Nothing can be written there.
 */

import { type BucketLook, NatsLink } from '../../services/runtime/nats-link.ts'
import { NatsServer } from '../support/nats-server.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

export interface Ailment {
  readonly stream: string
  readonly look: Exclude<BucketLook, 'well'> | 'lagging'
}

const api = '$JS.API.STREAM.'
const absent = { error: { code: 404, err_code: 10059, description: 'stream not found' } }

export class AilingStore {
  readonly address: string
  /** What changed something, as `CREATE.KV_qmq-records`, in order. */
  readonly asked: string[] = []
  ailment: Ailment | undefined
  readonly #configs = new Map<string, unknown>()

  private constructor(address: string) {
    this.address = address
  }

  static async start(test: Cleanup): Promise<AilingStore> {
    const server = await NatsServer.start({ whole: ({ address }) => `listen: "${address}"\n` })
    test.after(() => server.remove())
    const store = new AilingStore(server.address)
    const link = await NatsLink.open({
      ...{ servers: [server.address], authentication: { kind: 'none' }, name: 'store', inboxPrefix: 'store' },
      ...{ timeoutMs: 5_000, onProblem: () => {} },
    })
    test.after(() => link.close())
    link.subscribe(`${api}>`, ({ subject, data, reply }) => {
      const answer = store.#answer(subject.slice(api.length), data.toString('utf8'))
      link.publish(reply, Buffer.from(JSON.stringify(answer)))
    })
    return store
  }

  count(verb: string): number {
    return this.asked.filter((words) => words.startsWith(`${verb}.`)).length
  }

  #answer(words: string, data: string): unknown {
    const dot = words.indexOf('.')
    const [verb, stream] = [words.slice(0, dot), words.slice(dot + 1)]
    if (verb !== 'INFO') this.asked.push(words)
    if (verb === 'CREATE') this.#configs.set(stream, JSON.parse(data))
    if (verb === 'DELETE') {
      this.ailment = undefined
      return { success: this.#configs.delete(stream) }
    }
    const config = this.#configs.get(stream)
    return config === undefined ? absent : { config, created: '2026-01-01T00:00:00Z', state: {}, ...this.#led(stream) }
  }

  #led(stream: string): object {
    const look = this.ailment?.stream === stream ? this.ailment.look : 'well'
    const leader = look === 'well' || look === 'lagging' ? { leader: 'n1' } : {}
    const second = { name: 'n2', current: look === 'well', offline: look === 'incomplete' }
    return { cluster: { ...leader, replicas: [second, { name: 'n3', current: true }] } }
  }
}
