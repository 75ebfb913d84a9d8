/**
 * Text whose every character is one byte (0..255), as `latin1` decoding gives it.
 *
 * Mail addresses, reply lines and header bytes stay in this form inside every tier: it loses nothing, whatever bytes a
 * peer sends, and it compares and hashes as fast as any string. UTF-8 is decoded only where a person or the DNS
 * reads (`displayText`).
 */

export type ByteString = string

/** The text a person should see: UTF-8 decoded where valid, control characters shown as `\xNN`. Never for storage. */
export function displayText(bytes: ByteString): string {
  const decoded = Buffer.from(bytes, 'latin1').toString('utf8')
  const text = decoded.includes('\ufffd') ? bytes : decoded
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}

/** The bytes of `text` as UTF-8, one character each. */
export function byteStringOf(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1')
}
