################################################################################
#
# branch-gateway-media
#
################################################################################

BRANCH_GATEWAY_MEDIA_VERSION = 0.1.0
BRANCH_GATEWAY_MEDIA_SITE = $(BR2_EXTERNAL_BRANCH_GATEWAY_PATH)/../gateway/media/engine
BRANCH_GATEWAY_MEDIA_SITE_METHOD = local
BRANCH_GATEWAY_MEDIA_LICENSE = Apache-2.0
BRANCH_GATEWAY_MEDIA_DEPENDENCIES = host-pkgconf libsrtp openssl opus spandsp

# Hardening is as the whole system's, and another compiler's new warnings are no
# errors here: they are the business of the tests.
BRANCH_GATEWAY_MEDIA_MAKE_OPTS = \
	$(TARGET_CONFIGURE_OPTS) \
	HARDENING=-fPIE \
	WARNINGS=-Wall \
	PKG_CONFIG=$(PKG_CONFIG_HOST_BINARY) \
	BUILD=$(@D)/build

define BRANCH_GATEWAY_MEDIA_BUILD_CMDS
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) $(BRANCH_GATEWAY_MEDIA_MAKE_OPTS) all
endef

define BRANCH_GATEWAY_MEDIA_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/build/gateway-media \
		$(TARGET_DIR)/usr/bin/gateway-media
endef

$(eval $(generic-package))
