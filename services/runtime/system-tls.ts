/**
 * TLS by node:tls for connections that exist: what each side asks of the other, and whether it got it.
 *
 * A peer that must prove itself does so in the handshake or not at all: a certificate that is missing, signed by somebody else, of
 * another time, not meant for this end of a connection, or of somebody who is not wanted here, ends the connection before any byte of ours
 * is in it. The platform checks a client's certificate and leaves the verdict to be asked for; where it could not be asked, nobody
 * is let in.
 */

import net from 'node:net'
import tls from 'node:tls'
import { urisIn } from '../contract/identity.ts'
import type { Secured, TlsClientOptions, TlsPeer, TlsServerOptions } from './world.ts'

/** A listener's side of handshakes that begin later. */
export interface ServerTls {
  readonly context: tls.SecureContext
  readonly clients: TlsPeer | undefined
}

export function serverTlsOf({ certificate, key, clients }: TlsServerOptions): ServerTls {
  const context = tls.createSecureContext({
    ...{ cert: certificate, key, minVersion: clients === undefined ? 'TLSv1.2' : 'TLSv1.3' },
    ...(clients === undefined ? {} : { ca: clients.ca }),
  })
  return { context, clients }
}

export function startServerTls(plain: net.Socket, { context, clients }: ServerTls): tls.TLSSocket {
  const asked = clients === undefined ? {} : { requestCert: true, rejectUnauthorized: true }
  const options = { isServer: true, secureContext: context, allowHalfOpen: true, ...asked }
  return new tls.TLSSocket(plain, options as tls.TLSSocketOptions)
}

export function startClientTls(plain: net.Socket, { serverName, verify, mutual }: TlsClientOptions): tls.TLSSocket {
  if (mutual === undefined) {
    const named = net.isIP(serverName) === 0 ? { servername: serverName } : {}
    return tls.connect({ socket: plain, rejectUnauthorized: verify, minVersion: 'TLSv1.2', ...named })
  }
  const { ca, certificate, key, allowed } = mutual
  return tls.connect({
    ...{ socket: plain, rejectUnauthorized: true, minVersion: 'TLSv1.3', ca, cert: certificate, key },
    checkServerIdentity: (_host, peer) => {
      const names = urisIn(peer.subjectaltname ?? '')
      return allowed(names) ? undefined : notWanted(names)
    },
  })
}

/** What is known of the peer once the handshake is over, or why the connection must end. */
export function securedBy(socket: tls.TLSSocket, clients: TlsPeer | undefined, mutual: boolean): Secured | Error {
  const proven = clients !== undefined || mutual
  const names = proven ? urisIn(socket.getPeerX509Certificate()?.subjectAltName ?? '') : []
  if (clients !== undefined) {
    const refusal = clientRefusal(socket) ?? (clients.allowed(names) ? undefined : notWanted(names))
    if (refusal !== undefined) return refusal
  }
  return { protocol: socket.getProtocol() ?? '', cipher: socket.getCipher().name, names }
}

/** The part of a TLS socket in which OpenSSL's verdict on the client's certificate is found. */
interface Verdict {
  readonly ssl?: { readonly verifyError?: () => (Error & { readonly code?: string }) | null | undefined }
}

function clientRefusal(socket: tls.TLSSocket): Error | undefined {
  const { ssl } = socket as unknown as Verdict
  if (typeof ssl?.verifyError !== 'function') return new Error('certificates of clients cannot be checked here')
  const error = ssl.verifyError()
  return error === null || error === undefined ? undefined : new Error(`client certificate refused: ${error.message}`)
}

function notWanted(names: readonly string[]): Error {
  return new Error(`the certificate is of ${names.join(' and ') || 'nobody'}, who is not wanted here`)
}
