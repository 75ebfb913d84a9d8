/**
 * Faults that a programmer could make, planted from outside: each breaks one promise, and the judge must notice.
 *
 * A plant wraps what a tier is given (its disk, its network, a transport), so that the tier behaves as if its own code had
 * the fault.
 */

import type { Transport } from '../../services/contract/delivery.ts'
import { sameForAll } from '../../services/contract/delivery.ts'
import { encodeQmtpReply } from '../../services/protocol/qmtp.ts'
import type { Connection, ConnectionHandler, ConnectOptions, DiskFile, Network } from '../../services/runtime/world.ts'
import { changed, changedDisk, changedFiles } from './changed-world.ts'
import {
  keyForgotten,
  movedBeforeAnswer,
  originForgotten,
  otherTargetWhenUnclear,
  takenBeforeDurable,
} from './planted-handovers.ts'
import { honestParts, type ProcessParts } from './process-parts.ts'

export const plants = {
  /** `K` and marks go out while the datasync they wait for is still running. */
  'early-acknowledgement': onJournal((file) => ({
    datasync: () => {
      file.datasync().catch(() => {})
      return Promise.resolve()
    },
  })),
  /** The journal is written and never made durable. */
  'missing-datasync': onJournal(neverSynced),
  /** Names are never made durable. */
  'missing-directory-sync': {
    ...honestParts,
    queueWorld: (world) =>
      changedDisk(world, (disk) => ({ syncDirectory: (directory) => disk.list(directory).then(() => {}) })),
  },
  /** Files written aside are renamed or linked into place before their bytes are durable. */
  'rename-before-datasync': {
    ...honestParts,
    queueWorld: (world) => changedFiles(world, (file, path) => (isJournal(path) ? {} : neverSynced(file))),
  },
  /** The edge takes a lost connection for a refusal, and so offers the package to another instance. */
  'second-instance': {
    ...honestParts,
    edgeWorld: (world) => ({ ...world, network: new RefusalWhenLost(world.network) }),
  },
  /** A recipient is marked delivered before the next hop has answered. */
  'mark-before-reply': { ...honestParts, transport: (transport) => new HastyTransport(transport) },
  'moved-before-answer': { ...honestParts, doors: movedBeforeAnswer },
  'taken-before-durable': { ...honestParts, doors: takenBeforeDurable },
  'other-target-when-unclear': { ...honestParts, doors: otherTargetWhenUnclear },
  'origin-forgotten': { ...honestParts, doors: originForgotten },
  'key-forgotten': { ...honestParts, doors: keyForgotten },
} satisfies Record<string, ProcessParts>

export type PlantName = keyof typeof plants

function neverSynced(file: DiskFile): Partial<DiskFile> {
  return { datasync: () => file.size().then(() => {}) }
}

function onJournal(change: (file: DiskFile) => Partial<DiskFile>): ProcessParts {
  return {
    ...honestParts,
    queueWorld: (world) => changedFiles(world, (file, path) => (isJournal(path) ? change(file) : {})),
  }
}

function isJournal(path: string): boolean {
  return path.endsWith('.segment')
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
