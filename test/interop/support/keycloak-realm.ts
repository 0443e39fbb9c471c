// The realms of the tests as Keycloak imports them: users in every state that a login can meet, clients of every kind.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';

export type ClientName = keyof typeof clientSecrets | 'xmpp-key';
export type UserName = keyof typeof passwords;

/** Names and passwords that differ from each other in more than one character. */
export const passwords = {
  alice: 'alice-Wonder-4711',
  bob: 'bob builds & 100% fixes+',
  'mail@corp.example': 'mail:by:mail-7',
  /** Switched off. */
  dora: 'dora-disabled-33',
  /** Has to set a new password before anything else. */
  rita: 'rita-required-52',
  /** Whom the tests lock by wrong passwords, in the realm that does so. */
  victim: 'victim-locked-81',
  /** Has a one-time password, too. */
  otto: 'otto-onetime-64',
  user0: 'user0-crowd-10',
  user1: 'user1-crowd-21',
  user2: 'user2-crowd-32',
  user3: 'user3-crowd-43',
} as const;

export const crowd = ['user0', 'user1', 'user2', 'user3'] as const;

/** What the `xmpp` client may have to demand; alice has it. */
export const realmRole = 'xmpp';

/** Wrong passwords that lock an account. */
export const wrongPasswordsAllowed = 5;

/** The key of otto's one-time passwords. */
export const totpKey = 'otto-totp-key-of-20-b';

/** The clients' secrets; `xmpp-key` has a key in place of one. `evil` may do all that the others may. */
export const clientSecrets = {
  xmpp: 'xmpp-secret-+%/=-2718',
  app: 'app-secret-1414',
  evil: 'evil-secret-1732',
  /** Its access tokens say hardly anything. */
  'xmpp-lean': 'lean-secret-2236',
  /** Its access tokens are good for a second. */
  'xmpp-brief': 'brief-secret-2449',
} as const;

/** A token asked for with this scope says `xmpp` and `xmpp-key` in its `aud`; all others have no `aud` at all. */
export const audienceScope = 'for-xmpp';

/** The key of the client `xmpp-key`: what Keycloak has of it, and what the bridge has. */
export interface ClientKey {
  readonly id: string;
  readonly jwks: string;
  readonly privateKey: KeyObject;
}

export function createClientKey(): ClientKey {
  const id = 'xmpp-key-1';
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: id, use: 'sig', alg: 'RS256' };
  return { id, jwks: JSON.stringify({ keys: [jwk] }), privateKey };
}

export interface RealmOptions {
  readonly clientKey: ClientKey;
  /**
   * Locks accounts after wrong passwords. Keycloak then refuses a login, in the words of a wrong password, as long as it
   * is not quite done with another one of the same account (its issue 33527).
   */
  readonly locking: boolean;
}

/** A realm's representation for `POST /admin/realms`. */
export function realmRepresentation(
  realm: string,
  { clientKey, locking }: RealmOptions,
): Record<string, unknown> {
  return {
    id: realm,
    realm,
    enabled: true,
    // Quick to check: how passwords are hashed is not what the tests are about, and 1,000 logins are in them.
    passwordPolicy: 'hashAlgorithm(pbkdf2-sha256) and hashIterations(1000)',
    bruteForceProtected: locking,
    permanentLockout: false,
    failureFactor: wrongPasswordsAllowed,
    waitIncrementSeconds: 900,
    maxFailureWaitSeconds: 900,
    // Two wrong passwords in a moment lock no account; the tests type fast.
    quickLoginCheckMilliSeconds: 0,
    // The same code may serve two logins in the same half minute. Only a whole policy is taken.
    otpPolicyType: 'totp',
    otpPolicyAlgorithm: 'HmacSHA1',
    otpPolicyDigits: 6,
    otpPolicyPeriod: 30,
    otpPolicyInitialCounter: 0,
    otpPolicyLookAheadWindow: 1,
    otpPolicyCodeReusable: true,
    roles: { realm: [{ name: realmRole }] },
    users: Object.entries(passwords).map(([name, password]) => userRepresentation(name, password)),
    clients: [
      ...Object.entries(clientSecrets).map(([clientId, secret]) => ({
        ...clientRepresentation(clientId),
        clientAuthenticatorType: 'client-secret',
        secret,
        attributes: {
          ...(clientId === 'xmpp-lean' ? { 'client.use.lightweight.access.token.enabled': 'true' } : {}),
          ...(clientId === 'xmpp-brief' ? { 'access.token.lifespan': '1' } : {}),
        },
      })),
      {
        ...clientRepresentation('xmpp-key'),
        clientAuthenticatorType: 'client-jwt',
        attributes: { 'use.jwks.string': 'true', 'jwks.string': clientKey.jwks },
      },
    ],
  };
}

/** The client scope `audienceScope` for `POST /admin/realms/REALM/client-scopes`: a realm with its own list gets no others. */
export function audienceScopeRepresentation(): Record<string, unknown> {
  return {
    name: audienceScope,
    protocol: 'openid-connect',
    attributes: { 'include.in.token.scope': 'true' },
    protocolMappers: ['xmpp', 'xmpp-key'].map((client) => ({
      name: client,
      protocol: 'openid-connect',
      protocolMapper: 'oidc-audience-mapper',
      config: {
        'included.client.audience': client,
        'access.token.claim': 'true',
        'introspection.token.claim': 'true',
        'lightweight.claim': 'true',
      },
    })),
  };
}

function clientRepresentation(clientId: string): Record<string, unknown> {
  return {
    clientId,
    protocol: 'openid-connect',
    publicClient: false,
    standardFlowEnabled: false,
    directAccessGrantsEnabled: true,
    serviceAccountsEnabled: true,
  };
}

function userRepresentation(name: string, password: string): Record<string, unknown> {
  const credentials: Record<string, unknown>[] = [{ type: 'password', value: password, temporary: false }];
  if (name === 'otto') {
    credentials.push({
      type: 'otp',
      secretData: JSON.stringify({ value: totpKey }),
      credentialData: JSON.stringify({
        subType: 'totp',
        digits: 6,
        period: 30,
        algorithm: 'HmacSHA1',
        counter: 0,
      }),
    });
  }
  return {
    username: name,
    enabled: name !== 'dora',
    // A profile without these is one that is not fully set up.
    email: name.includes('@') ? name : `${name}@corp.example`,
    emailVerified: true,
    firstName: 'Test',
    lastName: 'User',
    requiredActions: name === 'rita' ? ['UPDATE_PASSWORD'] : [],
    credentials,
    ...(name === 'alice' ? { realmRoles: [realmRole] } : {}),
  };
}
