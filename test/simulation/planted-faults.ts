/**
 * Faults that a programmer could make, planted from outside: each breaks one promise, and the judge must notice.
 *
 * A plant wraps what a tier is given (its disk, its network, a transport), so that the tier behaves as if its own code had
 * the fault.
 */

import type { Transport } from '../../services/contract/delivery.ts'
import { sameForAll } from '../../services/contract/delivery.ts'
import { encodeQmtpReply } from '../../services/protocol/qmtp.ts'
import type {
  Connection,
  ConnectionHandler,
  ConnectOptions,
  Disk,
  DiskFile,
  Network,
  World,
} from '../../services/runtime/world.ts'
import { honestParts, type ProcessParts } from './process-parts.ts'

export const plants = {
  /** `K` and marks go out while the datasync they wait for is still running. */
  'early-acknowledgement': {
    ...honestParts,
    queueWorld: onFiles(isJournal, (file) => ({
      datasync: () => {
        file.datasync().catch(() => {})
        return Promise.resolve()
      },
    })),
  },
  /** The journal is written and never made durable. */
  'missing-datasync': {
    ...honestParts,
    queueWorld: onFiles(isJournal, (file) => ({ datasync: () => file.size().then(() => {}) })),
  },
  /** Names are never made durable. */
  'missing-directory-sync': {
    ...honestParts,
    queueWorld: onDisk((disk) => ({ syncDirectory: (directory) => disk.list(directory).then(() => {}) })),
  },
  /** Files written aside are renamed or linked into place before their bytes are durable. */
  'rename-before-datasync': {
    ...honestParts,
    queueWorld: onFiles(
      (path) => !isJournal(path),
      (file) => ({ datasync: () => file.size().then(() => {}) }),
    ),
  },
  /** The edge takes a lost connection for a refusal, and so offers the package to another instance. */
  'second-instance': { ...honestParts, edgeWorld: onNetwork((network) => new RefusalWhenLost(network)) },
  /** A recipient is marked delivered before the next hop has answered. */
  'mark-before-reply': { ...honestParts, transport: (transport: Transport) => new HastyTransport(transport) },
} satisfies Record<string, ProcessParts>

export type PlantName = keyof typeof plants

function isJournal(path: string): boolean {
  return path.endsWith('.segment')
}

function onDisk(change: (disk: Disk) => Partial<Disk>): (world: World) => World {
  return (world) => ({ ...world, disk: changed(world.disk, change(world.disk)) })
}

function onFiles(
  applies: (path: string) => boolean,
  change: (file: DiskFile) => Partial<DiskFile>,
): (world: World) => World {
  return onDisk((disk) => ({
    open: async (path, mode) => {
      const file = await disk.open(path, mode)
      return applies(path) ? changed(file, change(file)) : file
    },
  }))
}

function onNetwork(change: (network: Network) => Network): (world: World) => World {
  return (world) => ({ ...world, network: change(world.network) })
}

/** `thing` with some of its methods replaced; the others keep their `this`. */
function changed<Thing extends object>(thing: Thing, replaced: Partial<Thing>): Thing {
  return new Proxy(thing, {
    get: (target, name) => {
      const own = Reflect.get(replaced, name)
      if (own !== undefined) return own
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

class HastyTransport implements Transport {
  readonly #inner: Transport

  constructor(inner: Transport) {
    this.#inner = inner
  }

  attempt(...[attempt, done]: Parameters<Transport['attempt']>): void {
    this.#inner.attempt(attempt, () => {})
    done(sameForAll(attempt, { kind: 'delivered', to: attempt.destination.key, text: 'surely' }))
  }

  close(): void {
    this.#inner.close()
  }
}

/** Answers `Z` for whatever was under way when a connection to an instance is lost. */
class RefusalWhenLost implements Network {
  readonly #inner: Network

  constructor(inner: Network) {
    this.#inner = inner
  }

  listen(...[options, accept]: Parameters<Network['listen']>): ReturnType<Network['listen']> {
    return this.#inner.listen(options, accept)
  }

  connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
    let isUnanswered = false
    const connection = this.#inner.connect(options, {
      onOpen: () => handler.onOpen(),
      onSecure: () => handler.onSecure(),
      onData: (chunk) => {
        isUnanswered = false
        handler.onData(chunk)
      },
      onDrain: () => handler.onDrain(),
      onEnd: () => handler.onEnd(),
      onClose: (error) => {
        const refusal = Buffer.from(encodeQmtpReply('Z', 'connection lost'), 'latin1')
        if (isUnanswered) for (let recipient = 0; recipient < 4; recipient++) handler.onData(refusal)
        handler.onClose(error)
      },
    })
    return changed(connection, {
      write: (data) => {
        isUnanswered = true
        return connection.write(data)
      },
    })
  }
}
