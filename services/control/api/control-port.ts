/**
 * The port of a control instance's API, for people elsewhere: open as soon as this process has a certificate (`qmq ca`) and the port is
 * free, tried again until then.
 *
 * Without a certificate there is no port: nobody is believed by his address. What each may call is in his own. While ours cannot be used
 * nobody gets in, and once it can somebody does.
 */

import { tierIdentity } from '../../contract/identity.ts'
import type { Layout } from '../../contract/layout.ts'
import { errorText } from '../../protocol/failure.ts'
import { readFileIfThere } from '../../runtime/durable-file.ts'
import { credentialsDirectory, credentialsPollMs, TierCredentials } from '../../runtime/tier-credentials.ts'
import type { Timer, World } from '../../runtime/world.ts'
import type { Api } from './api-server.ts'

export interface ControlPortParts {
  readonly world: World
  readonly layout: Layout
  readonly api: Api
  readonly id: string
  /** The cluster's state directory. */
  readonly state: string
}

export class ControlPort {
  readonly #parts: ControlPortParts
  #credentials: TierCredentials | undefined
  #nextTry: Timer | undefined
  #trouble: string | undefined
  #isStopped = false

  constructor(parts: ControlPortParts) {
    this.#parts = parts
  }

  /** Why it is not open, where it should be. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** Resolves after the first try. Never rejects. */
  async start(): Promise<void> {
    const { world } = this.#parts
    try {
      if (await this.#open()) return
      this.#trouble = undefined
    } catch (error) {
      const why = errorText(error)
      if (this.#trouble === undefined) world.log.error('operators elsewhere are not served', { why })
      this.#trouble = `operators elsewhere are not served: ${why}`
    }
    if (this.#isStopped) return
    this.#nextTry = world.clock.after(credentialsPollMs, () => {
      this.start().catch(() => {})
    })
  }

  stop(): void {
    this.#isStopped = true
    this.#nextTry?.cancel()
    this.#credentials?.close()
  }

  async #open(): Promise<boolean> {
    const { world, layout, api, id } = this.#parts
    const spec = layout.control.find((one) => one.id === id)
    if (spec === undefined) return false
    this.#credentials ??= await this.#watchedCredentials()
    const credentials = this.#credentials
    if (this.#isStopped) credentials?.close()
    if (credentials === undefined || this.#isStopped) return false
    const tls = () => credentials.mutual(() => true)
    await api.openPort({ host: spec.host, port: spec.port, tls })
    this.#trouble = undefined
    const inForce = tls()
    if (typeof inForce === 'string') world.log.error('operators elsewhere are not served', { why: inForce })
    return true
  }

  async #watchedCredentials(): Promise<TierCredentials | undefined> {
    const { world, layout, id, state } = this.#parts
    const directory = credentialsDirectory(state, id)
    if ((await readFileIfThere(world.disk, `${directory}/cert.pem`)) === undefined) return undefined
    const credentials = new TierCredentials(world, directory, tierIdentity(layout.cluster, 'control', id))
    await credentials.watch()
    return credentials
  }
}
