import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { parseStateAddress } from '../src/state/address.ts';

/** May be in nothing that is printed. */
const canary = 'Canary4711';

const redis = { store: 'redis', tls: false, db: 0, cluster: false, plain: true };
const hosts = (host: string, port = 6379) => [{ host, port }];

describe('parseStateAddress()', () => {
  const addresses: [string, Record<string, unknown>][] = [
    ['memory', { store: 'memory' }],
    ['lmdb:/var/lib/extauth-oauth', { store: 'lmdb', folder: '/var/lib/extauth-oauth' }],
    ['lmdb:/a b/%41@?x', { store: 'lmdb', folder: '/a b/%41@?x' }],
    ['redis://redis.example', { ...redis, hosts: hosts('redis.example') }],
    ['redis://redis.example/', { ...redis, hosts: hosts('redis.example') }],
    ['redis://10.0.0.1:7000/15', { ...redis, hosts: hosts('10.0.0.1', 7000), db: 15 }],
    ['redis://localhost', { ...redis, hosts: hosts('localhost'), plain: false }],
    ['redis://127.0.0.2', { ...redis, hosts: hosts('127.0.0.2'), plain: false }],
    ['redis://[::1]', { ...redis, hosts: hosts('::1'), plain: false }],
    ['redis://[2001:db8::1]:6380', { ...redis, hosts: hosts('2001:db8::1', 6380) }],
    ['rediss://redis.example', { ...redis, tls: true, hosts: hosts('redis.example'), plain: false }],
    [
      'rediss://redis.example?ca_file=/etc/ca.pem&password_file=/etc/a%20b%40c',
      {
        ...redis,
        tls: true,
        plain: false,
        hosts: hosts('redis.example'),
        caFile: '/etc/ca.pem',
        passwordFile: '/etc/a b@c',
      },
    ],
    [
      'redis://ext@s1,[::1]:26380,s3:1?sentinel=mymaster&password_file=/p&sentinel_password_file=/s',
      {
        ...redis,
        hosts: [...hosts('s1', 26_379), ...hosts('::1', 26_380), ...hosts('s3', 1)],
        user: 'ext',
        sentinel: 'mymaster',
        passwordFile: '/p',
        sentinelPasswordFile: '/s',
      },
    ],
    ['redis://a/2?sentinel=m', { ...redis, hosts: hosts('a', 26_379), sentinel: 'm', db: 2 }],
    [
      'redis://a,b:7001?cluster=true',
      { ...redis, hosts: [...hosts('a'), ...hosts('b', 7001)], cluster: true },
    ],
    [
      'redis://127.0.0.1,b?cluster=true',
      { ...redis, hosts: [...hosts('127.0.0.1'), ...hosts('b')], cluster: true },
    ],
    ['redis://a?cluster=false', { ...redis, hosts: hosts('a') }],
  ];
  for (const [text, expected] of addresses) {
    it(`reads ${text}`, () => assert.deepEqual(parseStateAddress(text), expected));
  }

  const passwords: [userInfo: string, user: string | undefined, password: string][] = [
    [`:${canary}`, undefined, canary],
    [`ext:${canary}`, 'ext', canary],
    [`e%40x:${canary}%40%2F%3F%23%25%3A%C3%BC`, 'e@x', `${canary}@/?#%:ü`],
    [`ext:${canary}:+&,=`, 'ext', `${canary}:+&,=`],
  ];
  for (const [userInfo, user, password] of passwords) {
    it(`reads the password in ${userInfo}, and shows it to nobody`, () => {
      const address = parseStateAddress(`redis://${userInfo}@a`);
      assert.ok('store' in address && address.store === 'redis');
      assert.equal(address.user, user);
      assert.equal(address.password?.reveal(), password);
      for (const shown of [inspect(address, { depth: 9, showHidden: true }), JSON.stringify(address)]) {
        assert.ok(!shown.includes(canary), shown);
        assert.match(shown, /\[secret\]/);
      }
    });
  }

  const problems: [string, RegExp][] = [
    ['', /write memory, lmdb:\/absolute\/folder, redis:/],
    ['Memory', /write memory/],
    ['memory:', /write memory/],
    ['redis:a', /redis:\/\/host:port/],
    [`http://u:${canary}@a`, /rediss:\/\/host:port/],
    [`u:${canary}@redis.example`, /redis:\/\/host:port/],
    ['lmdb:', /lmdb:\/absolute\/folder/],
    ['lmdb:var/lib', /absolute/],
    ['lmdb:/a\0b', /absolute/],
    ['redis://', /host:port/],
    ['redis://a,', /host:port/],
    ['redis://a:0', /host:port/],
    ['redis://a:65536', /host:port/],
    [`redis://u:${canary}`, /host:port/],
    [`redis://a b:${canary}`, /host:port/],
    ['redis://::1', /\[IPv6\]:port/],
    ['redis://[::g]', /host:port/],
    ['redis://[1:2]', /IPv6 address/],
    ['redis://a/b', /database/],
    ['redis://a/1/2', /database/],
    ['redis://a/-1', /database/],
    ['redis://a,b', /sentinel=NAME or cluster=true/],
    ['redis://a?sentinel=m&cluster=true', /not both/],
    ['redis://a?sentinel=', /sentinel=NAME/],
    ['redis://a?sentinel=m&sentinel=n', /sentinel once/],
    ['redis://a?cluster=yes', /cluster=true/],
    ['redis://a/1?cluster=true', /leave the number out/],
    ['redis://a?db=1', /unknown parameter; there are sentinel, cluster, password_file/],
    [`redis://a?${canary}`, /unknown parameter/],
    ['redis://a?__proto__=1', /unknown parameter/],
    [`redis://a?password=${canary}`, /password_file=\/absolute\/path in the place of password/],
    [`redis://a?sentinel=m&sentinel_password=${canary}`, /sentinel_password_file=/],
    ['redis://a?password_file=secret', /write password_file=\/absolute\/path/],
    ['redis://a?password_file=', /write password_file=\/absolute\/path/],
    ['redis://a?sentinel_password_file=/s', /sentinel=NAME too/],
    ['redis://a?ca_file=/ca', /write rediss:/],
    ['rediss://a?ca_file=ca', /ca_file=\/absolute\/path/],
    [`redis://:${canary}@a?password_file=/p`, /not both/],
    [`redis://${canary}@a`, /a user needs a password/],
    [`redis://${canary}:@a`, /a user needs a password/],
    [`redis://u:${canary}%zz@a`, /%25/],
    [`redis://u:${canary}@x@a`, /@ as %40/],
    [`redis://u:${canary}/x@a`, /\/ as %2F/],
    [`redis://u:${canary}?x@a`, /\? as %3F/],
    [`redis://u:x#${canary}@a`, /# as %23/],
    [`redis://u:${canary}@a?password_file=/x@y`, /@ as %40/],
    [`redis://u:${canary}@a/${canary}`, /database/],
  ];
  for (const [text, expected] of problems) {
    it(`says what is wrong with ${JSON.stringify(text)}, and does not repeat it`, () => {
      const result = parseStateAddress(text);
      assert.ok('problem' in result, inspect(result));
      assert.match(result.problem, expected);
      assert.ok(!result.problem.includes(canary), result.problem);
    });
  }
});
