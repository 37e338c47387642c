// Every text of the page, in English and in Simplified Chinese, and which of the two is spoken.
// The table is JSON, so that a test can read it: it must name every metric, rule, status, ground, cause and step.

const WORDS = {
  "accounts": ["Accounts", "账户"],
  "account": ["Account", "账户"],
  "title.overview": ["Accounts in trouble first", "问题账户优先"],
  "skip": ["Skip to the content", "跳到正文"],
  "language": ["中文", "English"],
  "language.label": ["切换到中文", "Switch to English"],
  "live": ["Live", "实时"],
  "live.lost": ["Connection lost: trying again", "连接已断开：正在重试"],
  "updated": ["Updated: {n} accounts", "已更新：{n} 个账户"],
  "updated.account": ["Updated", "已更新"],
  "failed": ["This could not be loaded: {why}", "无法加载：{why}"],
  "again": ["Try again", "重试"],
  "no.answer": ["the worker does not answer", "服务没有响应"],
  "search": ["Search seller or marketplace", "搜索卖家或站点"],
  "search.hint": ["Press / to search", "按 / 搜索"],
  "marketplace": ["Marketplace", "站点"],
  "marketplace.all": ["All marketplaces", "全部站点"],
  "sort": ["Sort by", "排序"],
  "trouble": ["Trouble", "问题"],
  "in.trouble": ["{n} in trouble", "{n} 个有问题"],
  "of.accounts": ["of {n} accounts", "共 {n} 个账户"],
  "cases.open": ["Open cases", "未结案例"],
  "updated.column": ["Last event, computed", "最近事件、计算"],
  "event.column": ["Last event", "最近事件"], "computed.column": ["computed", "计算"],
  "none.found": ["No account matches.", "没有符合条件的账户。"],
  "more.rules": ["+{n} more", "另有 {n} 条"],
  "page.previous": ["Previous", "上一页"],
  "page.next": ["Next", "下一页"],
  "page.range": ["{from}–{to} of {n}", "第 {from}–{to} 个，共 {n} 个"],
  "as.of": ["As of {day}", "截至 {day}"],
  "last.event": ["last event {ago}", "最近事件 {ago}"],
  "computed": ["computed {ago}", "计算于 {ago}"],
  "lag": ["{n} records behind", "积压 {n} 条"],
  "ago": ["{t} ago", "{t}前"],
  "just.now": ["just now", "刚刚"],
  "time.days": ["{n} d", "{n} 天"], "time.hours": ["{n} h", "{n} 小时"], "time.minutes": ["{n} min", "{n} 分钟"],
  "left": ["{t} left", "还剩 {t}"],
  "overdue": ["{t} over", "已超 {t}"],
  "in.days": ["in {t}", "{t}后"],
  "since": ["since {day}", "自 {day}"],
  "beyond.fires": ["beyond {edge}: alert {severity}", "超出阈值 {edge}：告警 {severity}"],
  "beyond.quiet": ["beyond {edge}, without an alert: too few to judge, or another rule speaks for it",
                   "超出阈值 {edge}，未告警：样本不足，或已由其他规则告警"],
  "why": ["Why it is in trouble, and until when", "问题原因与结束时间"],
  "why.none": ["Nothing is wrong: no rule fires.", "一切正常：没有规则触发。"],
  "lead": ["{rule} is {value}, beyond {edge}, since {day}.", "自 {day} 起，{rule}为 {value}，超出阈值 {edge}。"],
  "lead.event": ["{rule}, since {day}.", "{rule}，自 {day} 起。"],
  "lead.ends": ["If nothing else happens it ends on {day}, {in}.", "若无其他变化，将于 {day} 结束（{in}）。"],
  "lead.never": ["Time alone does not end it.", "仅靠时间不会结束。"],
  "rule": ["Rule", "规则"],
  "value": ["Value", "数值"],
  "threshold": ["Threshold", "阈值"],
  "since.column": ["Since", "开始"],
  "ends": ["Ends if nothing else happens", "若无其他变化的结束日"],
  "sooner": ["What would end it today", "今天即可结束的办法"],
  "ends.never": ["not by time alone", "仅靠时间不会结束"],
  "ends.case": ["with the case, below", "随下方案例结束"],
  "ends.fades": ["too few left to judge then", "届时样本不足以判断"],
  "ends.unknown": ["not known", "未知"],
  "coming": ["Still to come", "即将发生"],
  "coming.line": ["{rule} begins on {day}, {in}; it ends {ends}.", "{rule}将于 {day} 开始（{in}），{ends} 结束。"],
  "remedy": ["{n} {good}", "{n} {good}"],
  "remedy.by": ["or {n} by {day}", "或在 {day} 前 {n}"],
  "remedy.none": ["nothing but time or a removal", "只能等待时间或移除评价"],
  "orders.to.rate": ["{n} orders can still be rated.", "还有 {n} 个订单可能被评价。"],
  "metrics": ["Metrics", "指标"],
  "partly": ["Unknown: some ratings are of a source that is declared partial.", "未知：部分评价来自声明为不完整的来源。"],
  "metric": ["Metric", "指标"],
  "day": ["Day", "日期"],
  "change.day": ["Since yesterday", "较昨日"],
  "change.week": ["Since last week", "较上周"],
  "better": ["better", "变好"],
  "worse": ["worse", "变差"],
  "points": ["{n} pp", "{n} 百分点"],
  "yes": ["yes", "是"], "no": ["no", "否"],
  "curve": ["{metric}: the last year and the outlook", "{metric}：最近一年及展望"],
  "curve.hint": ["Click a day, or move with the arrow keys and press Enter, to see the orders behind it.",
                 "点击某一天，或用方向键移动并按回车，查看背后的订单。"],
  "curve.actual": ["so far", "至今"],
  "curve.outlook": ["if nothing else happens", "若无其他变化"],
  "curve.table": ["Values as a table", "以表格查看数值"],
  "curve.none": ["This metric is no number that could be drawn.", "该指标不是可绘制的数字。"],
  "behind": ["Orders behind {metric} on {day}", "{day} {metric}背后的订单"],
  "behind.none": ["Nothing counts in it on that day.", "当天没有计入的订单。"],
  "behind.future": ["{day} is yet to come; its value is what the calendar knows by now.",
                    "{day} 尚未到来；数值为目前日历所知。"],
  "behind.late": ["The stored row is {stored}: it lags behind its events.", "已存储的行为 {stored}：落后于事件。"],
  "behind.cut": ["{n} of {total}, the rare ones first.", "显示 {total} 条中的 {n} 条，少见的在前。"],
  "behind.all": ["Show all {n}", "显示全部 {n} 条"],
  "order": ["Order", "订单"],
  "counts": ["Counts as", "计入"],
  "dated": ["Dated", "计入日期"],
  "leaves": ["Leaves", "移出日期"],
  "leaves.age": ["by age", "到期"],
  "leaves.event": ["by an event", "因事件"],
  "leaves.never": ["stays", "保留"],
  "events": ["Events", "事件"],
  "cases": ["Cases", "案例"],
  "cases.none": ["No case is open.", "没有未结案例。"],
  "cases.closed": ["Closed: {n}", "已结：{n}"],
  "stars": ["Stars", "星级"],
  "stars.n": ["{n} of 5 stars", "{n} 星（满分 5 星）"],
  "comment": ["Comment", "评论"],
  "comment.none": ["no comment", "无评论"],
  "status": ["Status", "状态"],
  "respond.by": ["Respond by", "回复期限"],
  "remove.by": ["Remove by", "移除期限"],
  "responded": ["done", "已完成"],
  "grounds": ["Grounds for removal", "移除理由"],
  "causes": ["Causes", "原因"],
  "next": ["Next step", "下一步"],
  "none": ["none", "无"],
  "alerts": ["Alerts", "告警"],
  "alerts.none": ["There has been no alert.", "从未有过告警。"],
  "alerts.past": ["Past: {n}", "过去：{n}"],
  "severity": ["Severity", "级别"],
  "state": ["State", "状态"],
  "resolved": ["Resolved", "解除"],
  "acked": ["Acknowledged by", "确认人"],
  "orders": ["Orders", "订单"],
  "outlook.refused": ["There is no outlook: {why}", "没有展望：{why}"],
  "not.found": ["There is no such page.", "没有这个页面。"],

  "severity.critical": ["critical", "严重"], "severity.warning": ["warning", "警告"], "severity.info": ["info", "提示"],
  "state.pending": ["pending", "待定"], "state.firing": ["firing", "触发中"], "state.resolved": ["resolved", "已解除"],
  "band.red": ["red", "红"], "band.yellow": ["yellow", "黄"], "band.green": ["green", "绿"],

  "group.feedback": ["Feedback", "评价"],
  "group.questions": ["Three questions", "三个问题"],
  "group.buy_box": ["Buy Box", "购买按钮"],
  "group.order_defects": ["Order defects", "订单缺陷"],
  "group.customer_service": ["Customer service", "客户服务"],
  "group.freshness": ["Freshness", "数据新鲜度"],
  "window.lifetime": ["lifetime", "全部时间"],
  "window.days": ["{n} d", "{n} 天"],

  "metric.positive": ["Positive", "好评数"],
  "metric.neutral": ["Neutral", "中评数"],
  "metric.negative": ["Negative", "差评数"],
  "metric.stars": ["Stars", "星数"],
  "metric.positive_rate": ["Positive share", "好评率"],
  "metric.negative_rate": ["Negative share", "差评率"],
  "metric.average_stars": ["Average stars", "平均星级"],
  "metric.orders": ["Orders", "订单数"],
  "metric.partial_ratings": ["Of partial sources", "不完整来源评价数"],
  "metric.arrived_on_time_answers": ["Arrived on time, answers", "准时送达 回答数"],
  "metric.arrived_on_time_yes": ["Arrived on time, yes", "准时送达 肯定数"],
  "metric.arrived_on_time_rate": ["Arrived on time", "准时送达率"],
  "metric.item_as_described_answers": ["As described, answers", "与描述相符 回答数"],
  "metric.item_as_described_yes": ["As described, yes", "与描述相符 肯定数"],
  "metric.item_as_described_rate": ["As described", "与描述相符率"],
  "metric.customer_service_answers": ["Good service, answers", "客服满意 回答数"],
  "metric.customer_service_yes": ["Good service, yes", "客服满意 肯定数"],
  "metric.customer_service_rate": ["Good service", "客服满意率"],
  "metric.problem_free_orders": ["Problem-free orders", "无问题订单"],
  "metric.buy_box_points": ["Buy Box points", "购买按钮积分"],
  "metric.received_orders": ["Received orders", "已收货订单"],
  "metric.buy_box_points_per_order": ["Points per order", "每单积分"],
  "metric.odr_orders": ["Orders placed", "下单数"],
  "metric.odr_negative": ["With negative rating", "含差评"],
  "metric.odr_claims": ["With claim", "含索赔"],
  "metric.odr_chargebacks": ["With chargeback", "含拒付"],
  "metric.odr_defects": ["Defective orders", "缺陷订单"],
  "metric.order_defect_rate": ["Order defect rate", "订单缺陷率"],
  "metric.odr_orders_seller": ["Orders placed, own fulfilment", "自发货下单数"],
  "metric.odr_defects_seller": ["Defective, own fulfilment", "自发货缺陷订单"],
  "metric.order_defect_rate_seller": ["Defect rate, own fulfilment", "自发货缺陷率"],
  "metric.negative_feedback_rate": ["Negative by order date", "按下单日差评率"],
  "metric.feedback_per_100_orders": ["Ratings per 100 orders", "每百单评价数"],
  "metric.cs_responses": ["Answers", "回答数"],
  "metric.cs_conversations": ["Conversations", "会话数"],
  "metric.cs_solved": ["Solved", "已解决"],
  "metric.cs_score": ["Service score", "客服得分"],
  "metric.cs_week": ["Score of the week", "得分所属周"],
  "metric.cs_is_current": ["Score is of this week", "得分为本周"],
  "metric.cs_band": ["Band", "色带"],
  "metric.cs_running_conversations": ["Conversations, running", "滚动会话数"],
  "metric.cs_running_solved": ["Solved, running", "滚动已解决"],
  "metric.cs_running_score": ["Service score, running", "滚动客服得分"],
  "metric.last_event_time": ["Last event", "最近事件"],

  "rule.negative_rate": ["Negative share", "差评率"],
  "rule.positive_rate": ["Positive share", "好评率"],
  "rule.average_stars": ["Average stars", "平均星级"],
  "rule.order_defect_rate": ["Order defect rate", "订单缺陷率"],
  "rule.order_defect_rate_near": ["Order defect rate, near", "订单缺陷率接近上限"],
  "rule.cs_score": ["Service score", "客服得分"],
  "rule.cs_running_score": ["Service score, running", "滚动客服得分"],
  "rule.buy_box_points": ["Buy Box points", "购买按钮积分"],
  "rule.buy_box_points_negative": ["Buy Box points below zero", "购买按钮积分为负"],
  "rule.feedback_coverage": ["Too few ratings", "评价过少"],
  "rule.negative_feedback": ["New bad rating", "新差评"],
  "rule.case_target": ["Case unanswered, 3 h", "案例 3 小时未处理"],
  "rule.case_overdue": ["Case overdue", "案例逾期"],
  "rule.case_closing": ["Removal closing", "移除期限将至"],
  "rule.case_follow_up": ["Follow up on removal", "跟进移除申请"],
  "rule.source_silent": ["Source silent", "数据源静默"],

  "status.open": ["open", "待处理"],
  "status.acted": ["acted", "已处理"],
  "status.removal_requested": ["removal requested", "已申请移除"],
  "status.removal_denied": ["removal denied", "移除被拒"],
  "status.removed": ["removed", "已移除"],
  "status.struck": ["struck", "已划除"],
  "status.revised": ["revised", "已改评"],
  "status.replaced": ["replaced", "已替换"],
  "status.expired": ["expired", "已过期"],

  "ground.obscene": ["obscene", "污言秽语"],
  "ground.personal_data": ["personal data", "个人信息"],
  "ground.promotional": ["promotional", "促销内容"],
  "ground.product_review": ["product review", "商品评论"],
  "ground.fulfilment": ["marketplace's fulfilment", "平台配送"],

  "cause.late": ["late", "延迟"],
  "cause.not_as_described": ["not as described", "与描述不符"],
  "cause.product": ["product", "商品"],
  "cause.service": ["service", "服务"],
  "cause.packaging": ["packaging", "包装"],
  "cause.tracking": ["tracking", "物流跟踪"],
  "cause.return": ["return", "退货"],
  "cause.cancel": ["cancellation", "取消"],
  "cause.unknown": ["unknown", "未知"],

  "step.ask for removal": ["ask for removal", "申请移除"],
  "step.answer publicly": ["answer publicly", "公开回复"],
  "step.answer publicly, late": ["answer publicly, late", "补充公开回复"],
  "step.contact the buyer": ["contact the buyer", "联系买家"],
  "step.put it right anyway": ["put it right anyway", "主动补救"],
  "step.follow up on the request": ["follow up on the request", "跟进移除申请"],
  "step.tell the buyer how to remove it": ["tell the buyer how to remove it", "告知买家如何移除"],
  "step.last days to ask": ["last days to ask", "最后申请期限"],
  "step.wait for the marketplace": ["wait for the marketplace", "等待平台处理"],
  "step.wait for the buyer": ["wait for the buyer", "等待买家"],
  "step.let it go": ["let it go", "不再处理"],
  "step.nothing": ["nothing", "无需处理"],

  "event.promised": ["promised by {day}", "承诺 {day} 前送达"],
  "event.fulfilled by the marketplace": ["fulfilled by the marketplace", "平台配送"],
  "event.PLACED": ["placed", "下单"], "event.SHIPPED": ["shipped", "发货"], "event.DELIVERED": ["delivered", "送达"],
  "event.CANCELLED": ["cancelled", "取消"], "event.RETURNED": ["returned", "退货"], "event.CLAIM_OPENED": ["claim opened", "发起索赔"],
  "event.CLAIM_DENIED": ["claim denied", "索赔被拒"], "event.CHARGEBACK": ["chargeback", "拒付"], "event.SUBMITTED": ["rated", "评价"],
  "event.REMOVED": ["rating removed", "评价移除"], "event.STRUCK": ["rating struck", "评价划除"],
  "event.solved": ["solved", "已解决"], "event.not solved": ["not solved", "未解决"],

  "good.5-star ratings": ["5-star ratings", "个五星评价"],
  "good.problem-free orders": ["problem-free orders", "个无问题订单"],
  "good.orders placed": ["orders placed", "个新订单"],
  "good.solved conversations": ["solved conversations", "个已解决会话"]
};

const KEPT = "sellerpulse.language";
const LANGUAGES = ["en", "zh"];
const kept = remembered();
let at = LANGUAGES.indexOf(kept ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
document.documentElement.lang = language();

// What Intl and `lang` call the language.
export function language() {
  return at ? "zh-CN" : "en";
}

// The other language from now on, also at the next visit.
export function switchLanguage() {
  at = 1 - at;
  document.documentElement.lang = language();
  try {
    localStorage.setItem(KEPT, LANGUAGES[at]);
  } catch {
    // A browser that keeps nothing asks again.
  }
}

function remembered() {
  try {
    const found = localStorage.getItem(KEPT);
    return LANGUAGES.includes(found) ? found : null;
  } catch {
    return null;
  }
}

// A text, with {names} filled in.
export function t(key, values = {}) {
  const text = WORDS[key];
  if (!text) throw new Error(`no words for ${key}`);
  return text[at].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// What a name of the server's is called: a rule of one's own has no words of ours, and keeps its name.
export function named(kind, name) {
  const text = WORDS[`${kind}.${name}`];
  return text ? text[at] : name.replaceAll("_", " ");
}
