/**
 * Hosts of their own on this machine: a network namespace each, joined by a bridge whose own address is this machine's. A host's cable can
 * be pulled, and this machine can be cut off from all of them, without anybody being told: packets vanish. A host can have several addresses,
 * and what goes to one of them can vanish alone. Needs root and `ip`.
 */

import { execFileSync } from 'node:child_process'
import type { Cleanup } from './temporary-directory.ts'

/** Between the first and the second address of a host. */
const addressStep = 50

/** A hardware address that no host here has. */
const nobody = '02:00:00:00:00:99'

export class NetworkHosts {
  readonly count: number
  readonly #addresses: number
  readonly #name: string
  readonly #subnet: string

  private constructor(count: number, addresses: number) {
    this.count = count
    this.#addresses = addresses
    this.#name = `qmq${process.pid}`
    this.#subnet = `10.213.${process.pid % 250}`
  }

  /** Gone when the test ends. `addresses`: of each. */
  static make(test: Cleanup, count: number, addresses = 1): NetworkHosts {
    const hosts = new NetworkHosts(count, addresses)
    test.after(() => hosts.#remove())
    hosts.#make()
    return hosts
  }

  /** Both from 1. */
  address(number: number, which = 1): string {
    return `${this.#subnet}.${number + 1 + (which - 1) * addressStep}`
  }

  /** By which a program is started there. */
  starter(number: number): readonly string[] {
    return ['ip', 'netns', 'exec', this.#host(number)]
  }

  pull(number: number): void {
    ip('link', 'set', this.#cable(number), 'down')
  }

  plug(number: number): void {
    ip('link', 'set', this.#cable(number), 'up')
  }

  /** What this machine sends to these addresses goes to nobody; hosts still reach each other. */
  cutOff(addresses = this.#all()): void {
    for (const address of addresses) {
      ip('neigh', 'replace', address, 'lladdr', nobody, 'dev', this.#name, 'nud', 'permanent')
    }
  }

  rejoin(addresses = this.#all()): void {
    for (const address of addresses) ip('neigh', 'del', address, 'dev', this.#name)
  }

  #all(): readonly string[] {
    return Array.from({ length: this.count }, (_, index) => this.#addressesOf(index + 1)).flat()
  }

  #addressesOf(number: number): readonly string[] {
    return Array.from({ length: this.#addresses }, (_, index) => this.address(number, index + 1))
  }

  #make(): void {
    ip('link', 'add', this.#name, 'type', 'bridge')
    ip('addr', 'add', `${this.#subnet}.1/24`, 'dev', this.#name)
    ip('link', 'set', this.#name, 'up')
    for (let number = 1; number <= this.count; number++) {
      const host = this.#host(number)
      ip('netns', 'add', host)
      ip('link', 'add', this.#cable(number), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host)
      ip('link', 'set', this.#cable(number), 'master', this.#name)
      ip('link', 'set', this.#cable(number), 'up')
      for (const address of this.#addressesOf(number)) ip('-n', host, 'addr', 'add', `${address}/24`, 'dev', 'eth0')
      ip('-n', host, 'link', 'set', 'eth0', 'up')
      ip('-n', host, 'link', 'set', 'lo', 'up')
    }
  }

  #remove(): void {
    const commands = [['link', 'del', this.#name]]
    for (let number = 1; number <= this.count; number++) {
      // A namespace lives on for as long as a process of it does, and its cable with it.
      commands.push(['link', 'del', this.#cable(number)], ['netns', 'del', this.#host(number)])
    }
    for (const command of commands) quietly(() => ip(...command))
  }

  #host(number: number): string {
    return `${this.#name}h${number}`
  }

  #cable(number: number): string {
    return `${this.#name}v${number}`
  }
}

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** What is not there need not be removed. */
function quietly(work: () => void): void {
  try {
    work()
  } catch {}
}
