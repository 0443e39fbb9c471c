// What a client says in each mechanism, well-made, and as it goes over the line. Nothing of it comes from src/.

export function plain(authcid: string, secret: string, authzid = ''): string {
  return `${authzid}\0${authcid}\0${secret}`;
}

/** RFC 7628 section 3.1. The authzid is written as it is given: escaped, that is. */
export function oauthBearer(token: string, authzid = ''): string {
  const header = authzid === '' ? 'n,,' : `n,a=${authzid},`;
  return `${header}\x01auth=Bearer ${token}\x01\x01`;
}

export function xoauth2(user: string, token: string): string {
  return `user=${user}\x01auth=Bearer ${token}\x01\x01`;
}

export function base64(message: string | Uint8Array): string {
  return Buffer.from(message as string).toString('base64');
}

/** The line that begins a login, with its LF. */
export function auth(id: number | string, mechanism: string, message: string | Uint8Array): string {
  return `AUTH\t${id}\t${mechanism}\tservice=xmpp\tresp=${base64(message)}\n`;
}
