/** Networks in CIDR form, and whether an address is in one of them. The door to node:net's BlockList. */

import { BlockList, isIP } from 'node:net'

export class AddressList {
  readonly #list = new BlockList()

  /** Throws RangeError naming an entry that is no address and no network. */
  constructor(networks: readonly string[]) {
    for (const network of networks) this.#add(network)
  }

  has(address: string): boolean {
    const family = isIP(address)
    return family !== 0 && this.#list.check(address, family === 4 ? 'ipv4' : 'ipv6')
  }

  #add(network: string): void {
    const slash = network.lastIndexOf('/')
    const address = slash < 0 ? network : network.slice(0, slash)
    const family = isIP(address)
    const bitsMax = family === 4 ? 32 : 128
    const bits = slash < 0 ? bitsMax : Number(network.slice(slash + 1))
    if (family === 0 || !Number.isInteger(bits) || bits < 0 || bits > bitsMax) {
      throw new RangeError(`${network} is neither an IP address nor a network such as 192.0.2.0/24`)
    }
    this.#list.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6')
  }
}
