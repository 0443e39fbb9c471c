// The provider's certificate: is it accepted, and for how long yet? A handshake of its own, in which nothing is sent.
import { isIP } from 'node:net';
import { type ConnectionOptions, connect, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { ProviderSettings } from '../config/provider-settings.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

/** Automatic renewal comes 30 days before the end; by then something has gone wrong with it. */
const FEW_DAYS = 21;
const DAY = 86_400_000;

export async function* examineCertificates(
  urls: readonly string[],
  settings: Pick<ProviderSettings, 'authorities' | 'http'>,
  now: number,
): AsyncGenerator<Finding> {
  const origins = new Set(urls.filter((url) => url.startsWith('https:')).map((url) => new URL(url).origin));
  // What a proxy lets through is the proxy's; the requests that follow say whether it works.
  if (settings.http.proxy !== undefined) return;
  for (const origin of origins) {
    const finding = await examineCertificate(origin, settings, now);
    if (finding !== undefined) yield finding;
  }
}

async function examineCertificate(
  origin: string,
  { authorities, http }: Pick<ProviderSettings, 'authorities' | 'http'>,
  now: number,
): Promise<Finding | undefined> {
  const { hostname, port, host } = new URL(origin);
  const what = `certificate of ${host}`;
  const bare = hostname.replace(/^\[(.*)\]$/, '$1');
  try {
    const { error, certificate, length } = await handshake(
      {
        host: bare,
        port: Number(port || 443),
        ...(isIP(bare) === 0 ? { servername: bare } : {}),
        ...(authorities === undefined ? {} : { ca: authorities }),
        // To be looked at; what is wrong with it is found all the same.
        rejectUnauthorized: false,
      },
      http.connect_timeout,
    );
    if (error !== undefined) {
      const why = 'nothing is sent to a provider that cannot prove who it is: every login is refused';
      return fault(what, `is not accepted: ${MEANING[error] ?? error}`, { why, ...REMEDY[error] });
    }
    const end = Date.parse(certificate.valid_to);
    const days = Math.floor((end - now) / DAY);
    const found = `${length} in its chain, good for ${days} ${days === 1 ? 'day' : 'days'} yet`;
    return days < FEW_DAYS
      ? warning(what, found, {
          why: 'when it ends, every login is refused; its renewal should have come by now',
        })
      : ok(what, found);
  } catch (error) {
    const code = String(codeOf(error));
    // That nobody is there, the requests say that follow.
    return /SSL|TLS|CERT/.test(code) ? fault(what, `no handshake: ${code}`) : undefined;
  }
}

/** Node's codes, and OpenSSL's: the word that an operator's search finds stays. */
const MEANING: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired (CERT_HAS_EXPIRED)',
  CERT_NOT_YET_VALID: "it is not valid yet (CERT_NOT_YET_VALID): is this machine's clock right?",
  ERR_TLS_CERT_ALTNAME_INVALID: 'it is for another name (ERR_TLS_CERT_ALTNAME_INVALID)',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it has signed itself (DEPTH_ZERO_SELF_SIGNED_CERT)',
  SELF_SIGNED_CERT_IN_CHAIN: 'its authority is not a known one (SELF_SIGNED_CERT_IN_CHAIN)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its authority is not known here (UNABLE_TO_GET_ISSUER_CERT_LOCALLY)',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'the chain is not complete (UNABLE_TO_VERIFY_LEAF_SIGNATURE): the provider must send the certificates between, too',
};

const OWN_AUTHORITY = { line: 'http: { ca_file: /etc/ssl/certs/your-own-authority.pem }' };
const REMEDY: Readonly<Record<string, { line: string }>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: OWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: OWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: OWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: OWN_AUTHORITY,
};

interface Seen {
  readonly error: string | undefined;
  readonly certificate: PeerCertificate;
  readonly length: number;
}

function handshake(options: ConnectionOptions, within: number): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(options, () => {
      const certificate = socket.getPeerCertificate(true);
      // A string's code in Node, whatever its types say.
      const error = socket.authorized ? undefined : String(codeOf(socket.authorizationError));
      socket.destroy();
      resolve({ error, certificate, length: chainOf(certificate) });
    });
    socket.setTimeout(within, () => socket.destroy(new Error(`no handshake within ${within} ms`)));
    socket.on('error', reject);
  });
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : error;
}

/** The root is its own issuer. */
function chainOf(certificate: PeerCertificate): number {
  const seen = new Set<string>();
  let each: { fingerprint256: string; issuerCertificate?: unknown } | undefined = certificate;
  while (each !== undefined && !seen.has(each.fingerprint256)) {
    seen.add(each.fingerprint256);
    each = each.issuerCertificate as typeof each;
  }
  return seen.size;
}
