/**
 * Who is at the other end of a gRPC connection, by the certificate it showed.
 *
 * A certificate names its holder in its subject alternative names of the kind URI (RFC 5280 4.2.1.6), `qmq://CLUSTER/...`; its host names
 * and addresses say where it is, not who it is, and are not looked at. Both ends show one, both check the other's against the
 * cluster's own authority: nobody else's certificate is as good.
 */

/** The same shape for every door: what we show, whom we believe. PEM. */
export interface RpcTls {
  readonly ca: Buffer
  readonly certificate: Buffer
  readonly key: Buffer
  /** Whether a peer with these names may be talked to at all. */
  readonly allowed: (names: readonly string[]) => boolean
}

/** Asked before each handshake, so that what was renewed counts for connections that begin later; or why there can be none now. */
export type RpcSecurity = () => RpcTls | string

export type RpcCaller =
  /** Whoever may open the socket's file. */
  | { readonly kind: 'socket' }
  /** Without TLS: for loopback. */
  | { readonly kind: 'plain'; readonly address: string }
  | {
      readonly kind: 'certificate'
      readonly address: string
      readonly names: readonly string[]
      /** For people to read; it proves no more than that the authority wrote it. */
      readonly commonName: string
    }
