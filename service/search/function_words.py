"""The function words by which `languages` recognizes the language of a text in Latin, Cyrillic or Devanagari script.

The keys of FUNCTION_WORDS are names of text search configurations of PostgreSQL 15. OTHERS are languages without such a
configuration. They are listed so that their texts are not taken for a related language, and indexed by `simple`.
"""

from __future__ import annotations

# Letters that few other languages of these lists have. A letter counts as much as half a function word.
LETTERS = {
    "czech": "ěřů",
    "french": "œçèêù",
    "german": "ß",
    "hungarian": "őű",
    "lithuanian": "ėįų",
    "polish": "łńśźż",
    "portuguese": "ãõ",
    "romanian": "țșăţş",
    "russian": "ыэё",
    "serbian": "јљњћџђ",
    "spanish": "ñ¿¡",
    "turkish": "ğı",
    "ukrainian": "їєґ",
    "vietnamese": "ơưđạảấầẩậắằặẹẻẽếềểệỉịọỏốồổộớờởợụủứừửữựỳỵỷỹ",
}
FUNCTION_WORDS = {
    "basque": (
        "eta da dira ez du dute bat izan ere baina den dela hau hori zen ziren dago egin beste edo duen zuen bere "
        "gure nola non zer"
    ),
    "catalan": (
        "el la els les de del i a en un una que per amb és són no es al als com més ha han dels aquest aquesta "
        "però també seva seu hi on perquè quan"
    ),
    "danish": (
        "og i at det er en et på til af den der med for ikke som de har jeg var vi fra kan men om han hun eller "
        "efter blev også skal hvor hvad når"
    ),
    "dutch": (
        "de het een en van in is dat op te zijn voor met die niet aan er om ook als bij maar door of uit naar "
        "over nog uur wordt worden werd heeft deze dit wat waar hoe wij"
    ),
    "english": (
        "the of and to in is that it for was on are as with be by at this from or an not have has had but which "
        "you we they their his her its can will would there what when where how who all if do does"
    ),
    "finnish": (
        "ja on ei se että oli hän mutta myös ovat joka kun niin tai kuin jos sen mitä missä tämä ole olla sekä "
        "voi ne jotka vain hänen mukaan kanssa"
    ),
    "french": (
        "le la les de des du et à en un une est que qui dans pour pas sur par il elle ne ce se au aux avec plus "
        "sont son sa ses cette ou mais nous vous ils leur était où comment quand c'est"
    ),
    "german": (
        "der die das und in den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
        "er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber "
        "vor zur bis wann wo was wer ich wir"
    ),
    "hindi": "है के में की और से का को हैं पर यह ने एक कि भी नहीं था लिए हो कर इस थी जो या वह अपने साथ",
    "hungarian": (
        "a az és hogy nem is egy van volt meg ez de csak mint már még el ki vagy ha be lehet kell azt ezt amely "
        "aki majd után hol mikor mi"
    ),
    "indonesian": (
        "yang dan di dari untuk dengan pada ini itu tidak adalah ke dalam akan oleh sebagai atau juga ada telah "
        "bisa karena kami mereka saya dapat lebih tersebut apa bagaimana kapan"
    ),
    "irish": (
        "an na agus i ar is a le go do ag bhí níl tá sé sí ach nach don den leis mar seo sin gur ó chun raibh cad "
        "bhfuil faoi"
    ),
    "italian": (
        "il lo la gli le di del della e è un una che in per non con si da al dei nel alla sono come più anche ma "
        "ha i dal alle delle questo questa o suo sua essere quando dove cosa"
    ),
    "lithuanian": (
        "ir yra kad į iš su tai bet apie buvo nuo kaip ar per už arba taip pat jis ji jų šis prie kai dėl iki "
        "nėra kur kas po tik"
    ),
    "nepali": "छ र को मा ले पनि हो यो एक लागि छन् गर्न भएको तथा गरेको थियो वा के यस हुन्छ छैन भने बाट गर्ने",
    "norwegian": (
        "og i det er en et på til av som for med at ikke de har jeg var vi fra kan men om han hun eller etter ble "
        "også skal hvor hva når seg blir sin være noe"
    ),
    "portuguese": (
        "o a os as de do da dos das e é um uma que em no na não para por com se mais ao como mas foi são ou sua "
        "seu pela pelo também já nos nas isso esta este onde quando você às"
    ),
    "romanian": (
        "și în de la cu pe nu este un o care din să că mai pentru a al ale au sunt fost prin sau ca se dar după "
        "lui ce unde când cum iar"
    ),
    "russian": (
        "и в не на что он с как это по но из у за от его она они так же для был была были мы вы бы или если "
        "только когда где который которые при до ещё еще уже к о"
    ),
    "serbian": (
        "и је у на да се за су са од као не али који која који то из по би до или што ли није како бити овај i je "
        "u na da se za su sa od kao ne ali koji koja to iz po bi do ili što nije kako biti ovaj gde kada"
    ),
    "spanish": (
        "el la los las de del y a en un una que es por con no para se al lo como más su sus pero o este esta son "
        "ha sin sobre también entre cuando muy hay fue ser está dónde qué cuándo"
    ),
    "swedish": (
        "och i att det är en ett på till av som för med inte den de har jag var vi från kan men om han hon eller "
        "efter blev också ska var vad när sig där än alla"
    ),
    "turkish": (
        "ve bir bu da de için ile olarak çok daha olan gibi ne en var kadar sonra ama ancak değil mi ise veya her "
        "o ya nasıl nerede olduğu tarafından ki"
    ),
}
OTHERS = {
    "bulgarian": (
        "и в на да се за от не са с че по това като към но или до при тя той ще беше които който има без след"
    ),
    "croatian": "i je u na se da za su od s kao će koji koja što iz ili ali nije sa po bi kako gdje kada tko bio",
    "czech": (
        "a je v na se že s z do pro o i k jako by které který jsou ale nebo jsem byl od po až také podle při jeho "
        "kde kdy"
    ),
    "estonian": (
        "ja on ei et see oli kui ka aga või mis kes seda ning oma nad tema siis selle kas kus veel pärast olid"
    ),
    "latvian": "un ir uz no ar par kas tas ka arī bet vai pie pēc lai kā kur šis nav bija to viņš",
    "macedonian": "и на во се од да за со не што ќе како но или по ги го тој таа беше има кој која",
    "marathi": "आहे आणि या च्या ते हे तो ती नाही होते होता केली की व पण साठी मध्ये असे",
    "polish": (
        "i w na z się nie do że to jest o jak po co tak za od przez dla jego był była ale są który która oraz lub "
        "przy gdzie kiedy"
    ),
    "slovak": ("a je v na sa že s z do pre o aj k ako by ktoré ktorý sú ale alebo som bol od po až podľa pri jeho kde"),
    "slovenian": "in je v na se da za so od z ki pa ne kot po pri ali tudi bi s iz do ni bil kje kdaj",
    "swahili": "na ya wa kwa ni katika la za cha kuwa hii huu pia kama lakini yake wao hiyo baada",
    "ukrainian": (
        "і в не на що він з як це по але із у за від його вона вони так для був була або якщо коли де який які "
        "при до та є"
    ),
    "vietnamese": ("và của là có các cho trong được không một với những người này đã khi để từ đến như ở về cũng sẽ"),
}
