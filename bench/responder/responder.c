// A bare responder for plain requests of known nodes: what XDP programs written by hand in C cost, to
// compare with. It makes all checks of such a request and the whole reply, in a straight line and
// with one walk over the options. There is no rate limit, no statistics and no slow path: everything
// that it does not answer passes.
//
// Built by `clang -O2 -target bpf`.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NETWORK16(x) ((u16)__builtin_bswap16(x))

enum { XDP_PASS = 2, XDP_TX = 3 };
enum { HASH = 1, ARRAY = 2 };

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct bpf_map_def {
	u32 type, key_size, value_size, max_entries, map_flags;
};

// The layout of the daemon's own templates.
struct template {
	u32 siaddr;
	u16 len;
	u16 sum;
	u64 body[63];
};

// By a node's address, the number of its WinPE.
SECTION("maps") struct bpf_map_def NODES = { HASH, 4, 4, 1 << 20, 0 };
// By WinPE, loader (BIOS, UEFI), and whether there is a UUID.
SECTION("maps") struct bpf_map_def TEMPLATES = { ARRAY, 4, sizeof(struct template), 64, 0 };
// The server's address.
SECTION("maps") struct bpf_map_def SERVER = { ARRAY, 4, 4, 1, 0 };

static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const adjust_tail)(struct xdp_md *ctx, int delta) = (void *)65;

enum { IP = 20, UDP = 8, BOOTP = 240, LEAST = IP + UDP + BOOTP + 1 };
enum { BODY_AT = 44, SERVER_ID_AT = 245, UUID_AT = 262 };
enum { STEPS = 24, MOST = 1024, MOST_BODY = 504 };

ALWAYS_INLINE u16 half(const u8 *at) { return *(const u16 *)at; }
ALWAYS_INLINE u32 word(const u8 *at) { return *(const u32 *)at; }
ALWAYS_INLINE u64 quad(const u8 *at) { return *(const u64 *)at; }

// Adds eight bytes, with the carry.
ALWAYS_INLINE u64 add(u64 sum, u64 bytes)
{
	sum += bytes;
	return sum + (sum < bytes);
}

ALWAYS_INLINE u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// Whether the sum of the datagram and its pseudo header is right. Its length is at most MOST + UDP.
ALWAYS_INLINE int is_sum_right(const u8 *ip, u32 udp_len, const u8 *end)
{
	const u8 *at = ip + IP;
	u64 sum = quad(ip + 12);
	u32 done = 0;

	if (half(at + 6) == 0)
		return 1;
	sum = add(sum, NETWORK16(17) + (u64)NETWORK16(udp_len));
	for (u32 i = 0; i < (MOST + UDP) / 8; i++) {
		if (done + 8 > udp_len)
			break;
		if (at + 8 > end)
			return 0;
		sum = add(sum, quad(at));
		at += 8;
		done += 8;
	}
	if (udp_len & 4) {
		if (at + 4 > end)
			return 0;
		sum = add(sum, word(at));
		at += 4;
	}
	if (udp_len & 2) {
		if (at + 2 > end)
			return 0;
		sum = add(sum, half(at));
		at += 2;
	}
	if (udp_len & 1) {
		if (at + 1 > end)
			return 0;
		sum = add(sum, *at);
	}
	return fold(sum) == 0xffff;
}

SECTION("xdp") int respond(struct xdp_md *ctx)
{
	u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
	u32 ip_at = 14, zero = 0;

	if (data + 14 + LEAST > end)
		return XDP_PASS;
	u16 type = half(data + 12);
	if (type == NETWORK16(0x8100) || type == NETWORK16(0x88a8)) {
		ip_at = 18;
		type = half(data + 16);
		if (data + 18 + LEAST > end)
			return XDP_PASS;
	}
	u8 *ip = data + ip_at, *udp = ip + IP, *bootp = udp + UDP;
	if (type != NETWORK16(0x0800) || ip[0] != 0x45 || ip[9] != 17 ||
	    (half(ip + 6) & NETWORK16(0x3fff)) || half(udp + 2) != NETWORK16(4011))
		return XDP_PASS;

	// Ethernet, IP and UDP.
	u32 *server = lookup(&SERVER, &zero);
	u32 client = word(ip + 12), destination = word(ip + 16);
	if (!server || destination != *server || data[0] & 1 || data[6] & 1)
		return XDP_PASS;
	u32 total_len = NETWORK16(half(ip + 2)), udp_len = NETWORK16(half(udp + 4));
	if (total_len != IP + udp_len || udp_len <= UDP + BOOTP || udp_len > UDP + MOST ||
	    data + ip_at + total_len > end)
		return XDP_PASS;
	u64 sum = add(add(quad(ip), quad(ip + 8)), word(ip + 16));
	if (fold(sum) != 0xffff)
		return XDP_PASS;
	u8 first = client;
	if (first == 0 || first == 127 || first >= 224)
		return XDP_PASS;
	u16 port = half(udp);
	if (port != NETWORK16(68) && port != NETWORK16(4011))
		return XDP_PASS;

	// BOOTP.
	if (bootp[0] != 1 || bootp[2] > 16 || word(bootp + 24) != 0 ||
	    (word(bootp + 12) != client && word(bootp + 12) != 0) ||
	    word(bootp + 236) != 0x63538263)
		return XDP_PASS;

	// Options. The places of those that matter begin as giaddr, which is zero. The verifier does not
	// know that: of zeros that it knows it would go through all combinations.
	volatile u32 *none = (volatile u32 *)(bootp + 24);
	u32 bootp_len = udp_len - UDP, at = BOOTP;
	u32 type_at = *none, class_at = *none, architecture_at = *none, uuid_at = *none;
	for (u32 i = 0; i < STEPS; i++) {
		if (at >= bootp_len)
			break;
		at &= 0x7ff;
		u8 *option = bootp + at;
		// The last option may be the frame's last byte.
		if (option + 1 > end)
			return XDP_PASS;
		u32 here = at, tag = option[0];
		if (tag == 255) {
			at = bootp_len;
			break;
		}
		if (tag == 0) {
			at += 1;
			continue;
		}
		if (option + 2 > end)
			return XDP_PASS;
		at += 2 + option[1];
		if (tag == 53) {
			if (type_at)
				return XDP_PASS;
			type_at = here;
		} else if (tag == 60) {
			if (class_at)
				return XDP_PASS;
			class_at = here;
		} else if (tag == 93) {
			if (architecture_at)
				return XDP_PASS;
			architecture_at = here;
		} else if (tag == 97) {
			if (uuid_at)
				return XDP_PASS;
			uuid_at = here;
		} else if (tag == 43 || tag == 52) {
			return XDP_PASS;
		}
	}
	if (at != bootp_len || !type_at || !class_at || !architecture_at)
		return XDP_PASS;
	u8 *option = bootp + (type_at & 0x7ff);
	if (option + 3 > end || option[1] != 1 || (option[2] != 3 && option[2] != 8))
		return XDP_PASS;
	option = bootp + (class_at & 0x7ff);
	if (option + 11 > end || option[1] < 9 || quad(option + 2) != 0x6e65696c43455850 ||
	    option[10] != 't')
		return XDP_PASS;
	option = bootp + (architecture_at & 0x7ff);
	if (option + 4 > end || option[1] < 2 || option[1] % 2)
		return XDP_PASS;
	u32 architecture = NETWORK16(half(option + 2)), loader = architecture != 0;
	if (architecture != 0 && architecture != 7 && architecture != 9)
		return XDP_PASS;
	u64 uuid[2] = { 0, 0 };
	u8 uuid_type = 0;
	option = bootp + (uuid_at & 0x7ff);
	u32 has_uuid = uuid_at && option + 19 <= end && option[1] == 17;
	if (has_uuid && option + 19 <= end) {
		uuid_type = option[2];
		uuid[0] = quad(option + 3);
		uuid[1] = quad(option + 11);
	}

	// The node, and its reply.
	u32 *winpe = lookup(&NODES, &client);
	if (!winpe)
		return XDP_PASS;
	u32 number = *winpe * 4 + loader * 2 + has_uuid;
	struct template *template = lookup(&TEMPLATES, &number);
	if (!template || !is_sum_right(ip, udp_len, end))
		return XDP_PASS;

	u32 len = template->len;
	if (len > MOST_BODY || len % 8)
		return XDP_PASS;
	if (adjust_tail(ctx, (int)(ip_at + IP + UDP + BODY_AT + len) - (int)(end - data)))
		return XDP_PASS;
	data = (u8 *)(long)ctx->data;
	end = (u8 *)(long)ctx->data_end;
	ip = data + ip_at;
	udp = ip + IP;
	bootp = udp + UDP;
	if (bootp + UUID_AT + 17 > end)
		return XDP_PASS;

	u32 low = word(data);
	u16 high = half(data + 4);
	*(u32 *)data = word(data + 6);
	*(u16 *)(data + 4) = half(data + 10);
	*(u32 *)(data + 6) = low;
	*(u16 *)(data + 10) = high;

	u32 siaddr = template->siaddr ? template->siaddr : destination;
	udp_len = UDP + BODY_AT + len;
	bootp[0] = 2;
	bootp[3] = 0;
	*(u32 *)(bootp + 8) = 0;
	*(u32 *)(bootp + 16) = 0;
	*(u32 *)(bootp + 20) = siaddr;
	*(u32 *)(bootp + 24) = 0;
	sum = template->sum;
	for (u32 i = 0; i < 5; i++)
		sum = add(sum, quad(bootp + 8 * i));
	sum = add(sum, word(bootp + 40));
	// This address is at an odd offset.
	sum = add(sum, (u16)__builtin_bswap16(fold(destination)));
	if (has_uuid)
		sum = add(add(add(sum, uuid_type | uuid[0] << 8), uuid[0] >> 56 | uuid[1] << 8),
			  uuid[1] >> 56);
	u8 *to = bootp + BODY_AT;
	for (u32 i = 0; i < MOST_BODY / 8; i++) {
		if (i * 8 >= len || to + 8 > end)
			break;
		*(u64 *)to = template->body[i];
		to += 8;
	}
	*(u32 *)(bootp + SERVER_ID_AT) = destination;
	if (has_uuid) {
		bootp[UUID_AT] = uuid_type;
		*(u64 *)(bootp + UUID_AT + 1) = uuid[0];
		*(u64 *)(bootp + UUID_AT + 9) = uuid[1];
	}

	*(u16 *)ip = NETWORK16(0x4500);
	*(u16 *)(ip + 2) = NETWORK16(IP + udp_len);
	*(u32 *)(ip + 4) = 0x00400000;
	*(u16 *)(ip + 8) = NETWORK16(64 << 8 | 17);
	*(u16 *)(ip + 10) = 0;
	*(u32 *)(ip + 12) = destination;
	*(u32 *)(ip + 16) = client;
	*(u16 *)(ip + 10) = ~fold(add(add(quad(ip), quad(ip + 8)), client));
	*(u16 *)udp = NETWORK16(4011);
	*(u16 *)(udp + 2) = port;
	*(u16 *)(udp + 4) = NETWORK16(udp_len);
	sum = add(sum, (u64)destination + client + NETWORK16(17) + 2 * (u64)NETWORK16(udp_len) +
			       NETWORK16(4011) + port);
	u16 field = ~fold(sum);
	*(u16 *)(udp + 6) = field ? field : 0xffff;
	return XDP_TX;
}

SECTION("license") char LICENSE[] = "GPL";
