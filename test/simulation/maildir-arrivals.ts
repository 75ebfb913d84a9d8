/** What lies in the mailboxes at the end, read straight from the volume: files in `new`, whole or not. */

import type { SimulatedHost } from './simulated-host.ts'
import type { DirectoryNode, Node } from './simulated-volume.ts'
import { stateDirectory } from './tier-processes.ts'
import { type Arrival, transactionIn } from './truth.ts'

export function maildirArrivals(host: SimulatedHost, atMs: number): Arrival[] {
  const arrivals: Arrival[] = []
  const domains = host.device.volume.directory(`${stateDirectory}/mailboxes`)
  for (const domain of directoriesIn(domains)) {
    for (const mailbox of directoriesIn(domain)) {
      const fresh = mailbox.names.get('new')
      if (fresh?.kind === 'directory')
        for (const file of fresh.names.values()) arrivals.push(arrivalOf(host, file, atMs))
    }
  }
  return arrivals
}

function arrivalOf(host: SimulatedHost, file: Node, atMs: number): Arrival {
  const bytes = Buffer.alloc(file.kind === 'file' ? file.cached.size : 0)
  if (file.kind === 'file') file.cached.read(bytes, 0)
  const text = bytes.toString('latin1')
  const recipient = /^Delivered-To: (.*)$/m.exec(text)?.[1]?.trim() ?? ''
  const sender = /^Return-Path: <(.*)>$/m.exec(text)?.[1]?.trim() ?? ''
  const id = transactionIn(text)
  return { atMs, where: 'maildir', from: host.name, sender, recipient, id, text, isConfirmed: true }
}

function* directoriesIn(directory: DirectoryNode): IterableIterator<DirectoryNode> {
  for (const node of directory.names.values()) if (node.kind === 'directory') yield node
}
