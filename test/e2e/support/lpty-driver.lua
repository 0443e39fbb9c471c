-- Stands in for Prosody's mod_auth_external_insecure: makes the same calls on lua-lpty as its blocking send_query(), when
-- told to. Lua 5.1. Runs `lua5.1 lpty-driver.lua PROGRAM`; one command a line on stdin, one reply a line on stdout.
--
--   query HEX       one query as the module makes it         answer HEX | nothing | dead STATUS CODE | failed WHY
--   send HEX        only the sending, bytes as they are      sent
--   read SECONDS    only the reading                         answer HEX | nothing
--   start HEX       starts the program and sends             sent | failed WHY
--   status          has it ended?                            running | ended STATUS CODE | none
--   end             what module.unload() does: SIGTERM       sent
--
-- The HEX of `query` and `start` is without the newline. `start` is only for a program that does not run.
local lpty = assert(require "lpty", "lua-lpty is missing");

local command = assert(arg[1], "which program?");
local read_timeout = tonumber(os.getenv("EXTERNAL_AUTH_TIMEOUT") or "5");
local pty = lpty.new({ throw_errors = false, no_local_echo = true, use_path = false });

local function to_hex(text)
	return (text:gsub(".", function (c) return ("%02x"):format(c:byte()); end));
end

local function from_hex(hex)
	return (hex:gsub("%x%x", function (pair) return string.char(tonumber(pair, 16)); end));
end

local function reply(...)
	io.stdout:write(table.concat({ ... }, " "), "\n");
	io.stdout:flush();
end

local function read(timeout)
	local response = pty:read(timeout);
	if response then reply("answer", to_hex(response)); else reply("nothing"); end
end

local function ended()
	local status, code = pty:exitstatus();
	if status then return "ended", tostring(status), tostring(code or 0); end
	return "none";
end

local commands = {};

function commands.query(hex)
	if not pty:hasproc() then
		local status, code = pty:exitstatus();
		if status and (status ~= "exit" or code ~= 0) then
			-- The module says "restarting" here and never does: dead until it is reloaded.
			return reply("dead", tostring(status), tostring(code or 0));
		end
		local ok, err = pty:startproc(command);
		if not ok then return reply("failed", tostring(err)); end
	end
	pty:send(from_hex(hex) .. "\n");
	read(read_timeout);
end

function commands.start(hex)
	local ok, err = pty:startproc(command);
	if not ok then return reply("failed", tostring(err)); end
	pty:send(from_hex(hex) .. "\n");
	reply("sent");
end

function commands.send(hex)
	pty:send(from_hex(hex));
	reply("sent");
end

function commands.read(timeout)
	read(tonumber(timeout));
end

function commands.status()
	if pty:hasproc() then reply("running"); else reply(ended()); end
end

commands["end"] = function ()
	pty:endproc();
	reply("sent");
end

while true do
	local line, _, errno = io.read();
	if line then
		local name, argument = line:match("^(%S+) ?(.*)$");
		commands[name](argument);
	elseif errno ~= 4 then -- EINTR: the end of the program interrupts the waiting
		break;
	end
end
