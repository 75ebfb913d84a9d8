/**
 * The world a tier lives in: time, chance, disk, network, DNS and the log, passed in as one argument.
 *
 * Two worlds exist: the operating system's (`system-world.ts`) and the simulated one (`test/simulation/`), which runs
 * the same tiers on virtual time from one seed. Code above `runtime/` reaches the outside only through these
 * interfaces; nothing else calls a clock, a socket, a file or a random source.
 *
 * Failures carry Node's `code` (`ENOENT`, `ENOSPC`, `ECONNREFUSED`, ...). Which of them are temporary is decided in
 * `protocol/failure.ts` alone.
 */

import type { NameRule } from '../contract/identity.ts'

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump; never measure durations with it. */
  now(): number
  /** Milliseconds from an arbitrary origin; never goes back. */
  monotonic(): number
  /** Calls `task` once after `delayMs`. A pending timer does not keep a process alive. */
  after(delayMs: number, task: () => void): Timer
  /** Calls `task` once the input at hand has been dealt with: what many events ask for is then done together. */
  soon(task: () => void): void
}

export interface Random {
  bytes(count: number): Buffer
  /** A whole number in [0, limit). */
  below(limit: number): number
}

export interface DiskFile {
  /** Writes every byte of `chunks` in order from `position`, or rejects. Durable only after `datasync`. */
  write(chunks: readonly Buffer[], position: number): Promise<void>
  /** `write` and `datasync` in one, which some systems do with one call. */
  writeDurably(chunks: readonly Buffer[], position: number): Promise<void>
  /** Fills `buffer` from `position`; resolves with the bytes read, fewer than asked only at the end of the file. */
  read(buffer: Buffer, position: number): Promise<number>
  /** Makes written bytes and the size durable. A rejection means the bytes may be gone: never call it twice to heal. */
  datasync(): Promise<void>
  truncate(bytes: number): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

export interface Disk {
  /** `create` fails with EEXIST where the name is taken; `write` opens an existing file for reading and writing. */
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile>
  readFile(path: string): Promise<Buffer>
  /** Names in a directory, sorted; ENOENT where there is none. */
  list(directory: string): Promise<string[]>
  /** Makes the directory and its parents; content with those that exist. */
  makeDirectory(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  link(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  /** Makes creations, renames and removals of names in `directory` durable. */
  syncDirectory(directory: string): Promise<void>
  /** Bytes an unprivileged writer may still use. */
  freeBytes(directory: string): Promise<number>
}

export interface Address {
  /** An IP address without brackets. */
  readonly host: string
  readonly port: number
}

/** What a connection tells its owner. None is called after `onClose`, and `onClose` is called exactly once. */
export interface ConnectionHandler {
  onOpen(): void
  /** TLS is up after `startTls`, or before the first byte of an implicit TLS connection. */
  onSecure(): void
  /** The buffer belongs to the receiver. */
  onData(chunk: Buffer): void
  /** A `write` that answered false has left the process. */
  onDrain(): void
  /** The peer will send no more; it may still read. */
  onEnd(): void
  onClose(error: Error | undefined): void
}

export interface Connection {
  readonly remote: Address
  readonly local: Address
  readonly secure: Secured | undefined
  /** Strings are byte strings (latin1). False: wait for `onDrain` before writing much more. */
  write(data: Buffer | string): boolean
  /** Writes between cork and uncork leave as one system call. */
  cork(): void
  uncork(): void
  pause(): void
  resume(): void
  /**
   * As the client: begins TLS on this connection. As the server: the listener's secure context is used; `received` is what was read
   * of the client's handshake already.
   */
  startTls(options: TlsClientOptions | 'server', received?: Buffer): void
  /** Sends what is written, then FIN. */
  end(): void
  /** Drops the connection at once. */
  destroy(): void
}

/** What is known of a connection while TLS is up. */
export interface Secured {
  /** TLS version and cipher. */
  readonly protocol: string
  readonly cipher: string
  /** The URIs a peer that had to prove itself is known by (`contract/identity.ts`); none of any other peer. */
  readonly names: readonly string[]
}

/** Who may be at the other end of a connection. Anybody else's ends in the handshake, before `onSecure`. */
export interface TlsPeer {
  /** PEM, one or several: who must have signed the certificate. */
  readonly ca: Buffer
  readonly allowed: NameRule
}

export interface TlsClientOptions {
  readonly serverName: string
  /** False accepts any certificate: opportunistic TLS. */
  readonly verify: boolean
  /** Both ends prove themselves; names decide instead of `serverName` and `verify`. */
  readonly mutual?: TlsPeer & { readonly certificate: Buffer; readonly key: Buffer }
}

export interface TlsServerOptions {
  /** PEM. */
  readonly certificate: Buffer
  readonly key: Buffer
  /** Absent: clients need no certificate. */
  readonly clients?: TlsPeer
}

export interface ListenOptions {
  readonly host: string
  /** 0 takes a free port; the listener says which. */
  readonly port: number
  /** `implicit`: TLS from the first byte; `upgrade`: `startTls('server')` is possible. */
  readonly tls?: { readonly mode: 'implicit' | 'upgrade'; readonly options: TlsServerOptions }
  readonly backlog?: number
  /** Several processes share the port. */
  readonly reusePort?: boolean
}

export interface Listener {
  readonly address: Address
  /** Replaces certificate and key for handshakes that begin later. */
  setTls(options: TlsServerOptions): void
  /** Accepts no more; open connections live on. */
  close(): Promise<void>
}

export interface ConnectOptions {
  /** An IP address is taken as it is; a name is resolved by the system. */
  readonly host: string
  readonly port: number
  readonly localAddress?: string
  readonly timeoutMs: number
}

export interface Network {
  /** `accept` returns the handler of the new connection. */
  listen(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler): Promise<Listener>
  /** Answers at once; `onOpen` or `onClose` follows, never from inside this call. */
  connect(options: ConnectOptions, handler: ConnectionHandler): Connection
}

export interface MailExchanger {
  readonly preference: number
  readonly name: string
}

export interface Resolver {
  /** Rejects with code ENOTFOUND (no such domain), ENODATA (no such record), ETIMEOUT or ESERVFAIL (try later). */
  mailExchangers(domain: string): Promise<MailExchanger[]>
  /** IPv6 and IPv4 addresses of a host, in the order to try them. Rejects as above. */
  addresses(host: string): Promise<string[]>
}

export type LogFields = Readonly<Record<string, string | number | boolean | undefined | readonly string[]>>

export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

export interface World {
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly network: Network
  readonly resolver: Resolver
  readonly log: Log
}
