// Our client at the token endpoint: is it known there, is its secret right, may it use the password grant?
import type { ClientAuthMethod } from '../oauth/client-auth.ts';
import { type Probed, probeClient } from '../oauth/client-probe.ts';
import type { Provider } from '../oauth/provider.ts';
import { Secret } from '../verdict.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

const WHAT = 'password grant';
const NO_LOGIN = 'no login by password succeeds';

/** `nobody`: a name that no user has, and a password that opens nothing. */
export async function examineClient(
  provider: Provider,
  nobody: string,
  signal: () => AbortSignal,
): Promise<Finding> {
  const { settings } = provider;
  const { client_auth_method: method } = settings;
  let endpoint: string;
  const ask = async (by: ClientAuthMethod): Promise<Probed> =>
    probeClient(
      {
        settings,
        method: by,
        endpoint,
        audience: (await provider.issuer(signal())) ?? endpoint,
        username: nobody,
        password: new Secret(nobody),
        wallClock: Date.now,
      },
      signal(),
    );
  try {
    endpoint = await provider.endpoint('token_endpoint', signal());
    const probed = await ask(method);
    const finding = judge(endpoint, probed);
    if (probed.answer !== 'wrong_client' || settings.clientSecret === undefined) return finding;
    const other = OTHER[method];
    // The same secret to the same endpoint, in another place of the request.
    const otherAnswer = other === undefined ? undefined : (await ask(other)).answer;
    return other !== undefined && (otherAnswer === 'no_such_user' || otherAnswer === 'grant_not_allowed')
      ? fault(
          WHAT,
          `${endpoint} refuses our client by client_auth_method ${method}, and knows it by ${other}`,
          {
            why: NO_LOGIN,
            line: `client_auth_method: ${other}`,
          },
        )
      : finding;
  } catch (error) {
    return fault(WHAT, (error as Error).message);
  }
}

const OTHER: Readonly<Partial<Record<ClientAuthMethod, ClientAuthMethod>>> = {
  post: 'basic',
  basic: 'post',
  basic_raw: 'post',
};

function judge(endpoint: string, { answer, status, error }: Probed): Finding {
  const { host } = new URL(endpoint);
  const said = error === undefined ? `${status}` : error;
  switch (answer) {
    case 'no_such_user':
      return ok(WHAT, `${endpoint} accepts our client, and refuses a user that nobody is, as it should`);
    case 'granted':
      return fault(
        WHAT,
        `${endpoint} gives a token to a user that does not exist: anybody could log in as anybody`,
      );
    case 'wrong_client':
      return fault(
        WHAT,
        `${host} does not know our client, or its secret is wrong (${said}): check client_id, the client secret, client_auth_method`,
        {
          why: NO_LOGIN,
          line: "client_secret_file: /etc/extauth-oauth/client_secret      # with the secret that the provider's page of this client shows",
        },
      );
    case 'grant_not_allowed':
      return fault(
        WHAT,
        `${host} knows our client and its secret, but does not let it use the password grant (${said})`,
        {
          why: `${NO_LOGIN}; switch it on for this client (Keycloak: "Direct access grants"), or use tokens`,
          line: 'resource_owner_password: false',
        },
      );
    case 'grant_not_offered':
      return fault(WHAT, `${host} does not offer the password grant to anybody (${said})`, {
        why: `${NO_LOGIN}: users have to log in with tokens`,
        line: 'resource_owner_password: false',
      });
    case 'consent_required':
      return fault(WHAT, `${host} wants the users' consent for our client first (${said})`, {
        why: `${NO_LOGIN} before the user, or an administrator for all of them, has consented at the provider`,
      });
    case 'browser_required':
      return fault(WHAT, `${host} wants users to come with a browser (${said})`, {
        why: `${NO_LOGIN}: tokens, or an exception for this client at the provider`,
      });
    case 'invalid_scope':
      return fault(WHAT, `${host} does not know the scope, or does not give it to our client (${said})`, {
        why: NO_LOGIN,
        line: 'scope: openid',
      });
    case 'invalid_request':
      return fault(
        WHAT,
        `${host} does not understand the request (${said}): check client_auth_method, scope, and that the client may use the password grant there`,
        { why: NO_LOGIN },
      );
    case 'refused_without_reason':
      return warning(
        WHAT,
        `${host} answers ${status} without a reason: a user that nobody is, or a wrong secret?`,
        {
          line: 'extauth-oauth login USER@HOST      # tells, with a user that there is',
        },
      );
    case 'other':
      return fault(
        WHAT,
        `the token endpoint on ${host} answered with status ${status}: is token_endpoint right?`,
      );
  }
}
