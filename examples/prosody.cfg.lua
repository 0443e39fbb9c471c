-- A complete prosody.cfg.lua (0.11 and 0.12) that lets extauth-oauth check every login through mod_auth_external_insecure.
-- Prosody 13 checks tokens by itself (mod_auth_oauth_external): this is for the versions before.
-- To add it to a running server copy everything between the two lines, and take "register" out of modules_enabled.

-- What it costs: a slow answer stops the whole server for up to 5 seconds, the first login after each start of Prosody fails,
-- and nothing above 1,000 bytes (name, host and password together) is ever asked: JWTs do not fit, short tokens do.

----------------------------------------------------------------------------------------------------------------------

-- Where mod_auth_external_insecure.lua of the community's prosody-modules lies: Debian's package does not have it.
plugin_paths = { "/usr/local/lib/prosody/modules" }

-- Needs lpty for Prosody's own Lua: version 1.0.1. From 1.2 on it takes the terminal for its own, which fails under systemd.
authentication = "external_insecure"

-- Vital. With "ejabberd" most queries would never arrive, because lpty ends them at the first NUL; one of 768 bytes or more
-- begins with Ctrl-C, which stops a Prosody that systemd has started.
external_auth_protocol = "generic"

-- One file, executed as it is: no arguments, no search in PATH, no shell. Vital: the wrapper and not extauth-oauth itself, or
-- terminal echo is taken for answers and wrong passwords are accepted. It needs `node` in Prosody's PATH, and reads
-- /etc/extauth-oauth/config.yml unless EXTAUTH_OAUTH_CONFIG in Prosody's environment says otherwise (systemctl edit prosody).
external_auth_command = "/usr/lib/node_modules/extauth-oauth/bin/extauth-oauth-prosody"

-- Vital: not less than 5. The bridge answers within 4 seconds or not at all; an answer after the timeout would be taken for the
-- answer to the next query, whoever that is about.
external_auth_timeout = 5

-- Vital. Without blocking, answers are lost under load and logins hang for ever.
external_auth_blocking = true
external_auth_processes = 1

-- PLAIN sends the password or token as it is: only ever inside TLS.
c2s_require_encryption = true
allow_unencrypted_plain_auth = false

-- Accounts and passwords belong to the provider.
allow_registration = false

-- Vital: no "register" here. It changes passwords, too, also with allow_registration = false, and a new password may hold
-- a line break, behind which the user can write a query of his own.
modules_enabled = {
	"roster"; "saslauth"; "tls"; "dialback"; "disco";
	"carbons"; "pep"; "private"; "blocklist"; "vcard4"; "vcard_legacy";
	"version"; "uptime"; "time"; "ping"; "mam"; "csi_simple"; "smacks";
	"limits"; "posix";
}

----------------------------------------------------------------------------------------------------------------------

pidfile = "/run/prosody/prosody.pid"

log = {
	info = "/var/log/prosody/prosody.log";
	error = "/var/log/prosody/prosody.err";
}

certificates = "certs"

limits = {
	c2s = { rate = "10kb/s" };
	s2sin = { rate = "30kb/s" };
}

s2s_require_encryption = true

-- Each VirtualHost starts a bridge of its own; the host is part of every query.
VirtualHost "chat.example.org"
