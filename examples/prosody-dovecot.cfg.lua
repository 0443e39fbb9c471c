-- A complete prosody.cfg.lua (0.11 and 0.12) that lets `extauth-oauth serve` check every login, over the Dovecot authentication
-- protocol: passwords and tokens by PLAIN, tokens by OAUTHBEARER. No terminal, no 1,000 bytes, no lost logins.
-- To add it to a running server copy everything between the two lines, and what stands below VirtualHost to each of yours.

-- What it costs: a slow answer stops the whole server, for 4 seconds at most (deadline).

----------------------------------------------------------------------------------------------------------------------

-- Debian's prosody-modules has the module, one folder deeper than Prosody looks.
plugin_paths = { "/usr/lib/prosody/modules/mod_auth_dovecot" }

authentication = "dovecot"

-- Vital: leave auth_append_host and handle_appended out. With them Prosody logs in the name that was typed, whatever the
-- provider says. Vital, too: do not load "legacyauth" (XEP-0078). With this module it lets everybody in with any password.

-- Before anybody has logged in Prosody reads 10,000 bytes of a stanza: a token of 7,400 bytes. This is room for the longest
-- that is taken, 16 KiB.
c2s_unauthed_stanza_size_limit = 24000

-- Passwords and tokens are sent as they are: only ever inside TLS.
c2s_require_encryption = true
allow_unencrypted_plain_auth = false
insecure_sasl_mechanisms = { "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2" }

-- Accounts and passwords belong to the provider.
allow_registration = false

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

VirtualHost "chat.example.org"
	-- A socket for each virtual host: the protocol does not say which one somebody logs in to.
	dovecot_auth_socket = "/run/extauth-oauth/chat.example.org.sock"
