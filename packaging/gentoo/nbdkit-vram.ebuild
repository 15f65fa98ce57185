# nbdkit-vram: package for Gentoo; README.md says where to put this file
# SPDX-License-Identifier: BSD-3-Clause
# Distributed under the terms of the BSD 3-Clause License

EAPI=8

inherit bash-completion-r1 systemd

DESCRIPTION="Memory of an NVIDIA GPU as a disk for nbdkit, and as swap"
HOMEPAGE="https://nbdkit-vram.invalid/"
SRC_URI="${P}.tar.xz"

LICENSE="BSD"
SLOT="0"
KEYWORDS="~amd64"
IUSE="openrc +systemd"
# There is no place to download from yet.
RESTRICT="fetch"

DEPEND="
	dev-libs/jansson:=
	>=sys-block/nbdkit-1.32
"
RDEPEND="
	${DEPEND}
	acct-user/vram-swap
	sys-apps/kmod
	sys-block/nbd
"
BDEPEND="
	dev-lang/perl
	virtual/pkgconfig
"

pkg_nofetch() {
	einfo "Put ${P}.tar.xz, made by \"make dist\", into your DISTDIR."
}

src_configure() {
	econf \
		--with-plugin-name=gpuram \
		$(use_with openrc) \
		$(use_with systemd)
}

src_install() {
	emake DESTDIR="${D}" \
		systemdsystemunitdir="$(systemd_get_systemunitdir)" \
		completiondir="$(get_bashcompdir)" \
		install
	dodoc NEWS.md README.md
}

pkg_postinst() {
	# The daemon runs the old program and its server the old plugin.
	if [[ -S /run/vram-swap/control ]]; then
		timeout 300 vram-swap reload ||
			ewarn "Not in use yet: \"vram-swap reload\" retries"
	fi
	elog "To switch swap in VRAM on: \"systemctl enable --now vram-swap\","
	elog "or \"rc-update add vram-swap\"."
}

pkg_prerm() {
	# An upgrade keeps swap on.
	if [[ -z ${REPLACED_BY_VERSION} ]]; then
		vram-swap --quiet down ||
			die "cannot switch swap off; end programs and retry"
	fi
}
